-- Goes before each script: keys, clock, counters, quotas. Runs on Lua 5.1 (Redis 6.2 and later, Valkey).
-- KEYS[1] is the prefix of all keys, with the hash tag that keeps them in one slot; ARGV[1] the time in Unix seconds,
-- or '0' for the server's own. Lists come and are kept as MessagePack, since cjson writes 14 digits only.
local prefix = KEYS[1]
local KEEP_S = 35 * 86400 -- a counter outlives its window by this, for late settlements and reconciliation
local SUMS_S = 400 * 86400 -- a year and a month of days can be summed up
local CLOSED_S = 5
local MINUTE_US = 60000000
local MOST_DEBT_US = 10 * MINUTE_US

local function key(name) return prefix .. name end

local function clock()
  if ARGV[1] ~= '0' then return tonumber(ARGV[1]) end
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local now = clock()

local function whole(number) return string.format('%.0f', number) end

-- ---- memory. The hash `epoch` names what the server knows: `id`, the `run` of the server it was begun on, and `until`
-- when nothing new is admitted, since the owners in `awaited` have not yet told again what they know (S17).

local function reopening() return string.format('%.3f', now + CLOSED_S - 0.001) end

local function is_closed(till)
  local left = tonumber(till) - now
  return left > 0 and left <= CLOSED_S -- a clock that was set back does not close it for long (F19)
end

-- What an owner may rely on is the epoch to which it has told all it knows; '+' before it says that it is just telling.
local function is_known(stamp, admits)
  local telling = string.sub(stamp, 1, 1) == '+'
  local found = redis.call('HMGET', key('epoch'), 'id', 'until')
  if found[1] ~= (telling and string.sub(stamp, 2) or stamp) then return false end
  return telling or not admits or not is_closed(found[2])
end

local function has_told(owner)
  if redis.call('SREM', key('awaited'), owner) == 1 and redis.call('EXISTS', key('awaited')) == 0 then
    redis.call('HSET', key('epoch'), 'until', '0')
  end
end

-- ---- money. A claim is {account, limit or -1, soft, {{window, start, end}, ...}}; what is taken is {counter, nanos, end}.

local function window_of(claim)
  for index, window in ipairs(claim[4]) do
    if now < window[3] or window[3] == 0 then return index, window end
  end
  return #claim[4], claim[4][#claim[4]]
end

local function counter_of(claim)
  local index, window = window_of(claim)
  local name = 'c:' .. claim[1] .. ':' .. window[1] .. ':' .. whole(window[2])
  local found = redis.call('HMGET', key(name), 'spent', 'held', 'presumed')
  return {
    name = name, index = index, ends = window[3],
    spent = tonumber(found[1] or 0), held = tonumber(found[2] or 0), presumed = tonumber(found[3] or 0),
  }
end

local function standing(claim)
  local counter = counter_of(claim)
  return {counter.index - 1, counter.spent, counter.held, counter.presumed}
end

local function raise(hash, field, nanos)
  if nanos ~= 0 then redis.call('HINCRBY', key(hash), field, whole(nanos)) end
end

local function add(taken, spent, held, presumed)
  local name, ends = taken[1], taken[3]
  if ends > 0 and now > ends + KEEP_S then return end -- its counter is gone, and no limit asks for it any more
  raise(name, 'spent', spent)
  raise(name, 'held', held)
  raise(name, 'presumed', presumed)
end

-- Checks all claims of a choice {bound, floor, expected, claims}, then takes from all, or changes nothing.
-- Returns granted, taken and how the claims then stand, or nil and the refusal.
local function take(choice)
  local bound, floor, expected, claims = choice[1], choice[2], choice[3], choice[4]
  local granted, counters = bound, {}
  for number, claim in ipairs(claims) do
    local counter = counter_of(claim)
    counters[number] = counter
    if claim[2] >= 0 then
      local room = claim[2] - counter.spent - counter.held - counter.presumed
      local least = claim[3] and expected or floor
      if least > 0 and least > room then
        return nil, {0, number - 1, least, counter.index - 1, counter.spent, counter.held, counter.presumed}
      end
      if not claim[3] and bound > 0 then granted = math.min(granted, math.max(room, floor)) end
    end
  end
  local taken, of = {}, {}
  for number, claim in ipairs(claims) do
    -- Several limits may count the same money: it is taken once, as the hardest of them wants it.
    local counter, nanos = counters[number], claim[3] and expected or granted
    local known = of[counter.name]
    if known then
      known[2] = math.max(known[2], nanos)
    else
      of[counter.name] = {counter.name, nanos, counter.ends}
      taken[#taken + 1] = of[counter.name]
    end
  end
  local held, standings = {}, {}
  for _, one in ipairs(taken) do
    held[one[1]] = redis.call('HINCRBY', key(one[1]), 'held', whole(one[2]))
    if one[3] > 0 then redis.call('EXPIRE', key(one[1]), whole(math.max(1, one[3] + KEEP_S - now))) end
  end
  for number, counter in ipairs(counters) do
    standings[number] = {counter.index - 1, counter.spent, held[counter.name], counter.presumed}
  end
  return granted, taken, standings
end

-- ---- quotas. A quota is {account, is_slots, capacity, per_minute, amount, is_tokens, leg}; leg -1 is the whole request.

-- What has still to flow back: at most a full burst, and nothing by a time that no debt can have set, which is from before
-- a clock was set back (F19).
local function owed_us(value, quota, interval)
  local ahead, full = value - math.floor(now * 1000000), math.floor(quota[3] * interval)
  if ahead > full + MOST_DEBT_US then return 0 end
  return math.min(math.max(0, ahead), full)
end

local function quota_standing(quota)
  local value = tonumber(redis.call('GET', key('q:' .. quota[1])) or 0)
  if quota[2] then return {math.max(0, quota[3] - value), MINUTE_US / 60, 0} end
  local interval = MINUTE_US / quota[4]
  local owed = owed_us(value, quota, interval)
  local remaining = math.floor((quota[3] * interval - owed) / interval + 0.000000001)
  local lacking = owed + (quota[5] - quota[3]) * interval
  return {math.max(0, remaining), math.max(0, math.ceil(lacking)), math.ceil(owed)}
end

local function change_quota(quota, amount)
  local name = key('q:' .. quota[1])
  local value = tonumber(redis.call('GET', name) or 0)
  if quota[2] then
    value = value + amount
    if value > 0 then redis.call('SET', name, whole(value)) else redis.call('DEL', name) end
    return
  end
  local interval, now_us = MINUTE_US / quota[4], math.floor(now * 1000000)
  local owed = owed_us(value, quota, interval) + math.floor(amount * interval + 0.5)
  owed = math.min(owed, math.floor(quota[3] * interval) + MOST_DEBT_US)
  if owed > 0 then
    redis.call('SET', name, whole(now_us + owed), 'PX', whole(owed / 1000 + 60000))
  else
    redis.call('DEL', name)
  end
end

-- The first quota that has not what is asked of it, as a refusal; nil when all have.
local function lacking(quotas)
  for number, quota in ipairs(quotas) do
    local found = quota_standing(quota)
    if quota[5] > found[1] then return {1, number - 1, 0, found[1], found[2], found[3], 0} end
  end
end

-- Takes from each account once, and adds that to what was drawn.
local function draw(quotas, drawn)
  local of = {}
  for _, quota in ipairs(quotas) do
    if not of[quota[1]] then
      of[quota[1]] = true
      drawn[#drawn + 1] = quota
      change_quota(quota, quota[5])
    end
  end
  return drawn
end

-- Slots come back, tokens are corrected to what was used (-1: unknown, it stays).
local function end_quota(drawn, used)
  if drawn[2] then
    change_quota(drawn, -drawn[5])
  elseif drawn[6] and used >= 0 then
    change_quota(drawn, used - drawn[5])
  end
end

-- The request is over, or nobody knows what became of it: `used` is of all of it, `of_legs` of each attempt.
local function end_quotas(packed, used, of_legs)
  for _, drawn in ipairs(packed and cmsgpack.unpack(packed) or {}) do
    local leg = drawn[7] or -1 -- a row from before there were any has none
    if leg >= 0 and of_legs then
      end_quota(drawn, of_legs[leg + 1] or 0)
    else
      end_quota(drawn, used)
    end
  end
end

-- ---- days. What the requests of a day that are no longer open add up to, by all that they can be grouped by: a hash a
-- day, whose fields are groups and whose values {requests, input, cached, output, cost, presumed}, both MessagePack.

local function tally(at, group, amounts)
  local day = math.floor(at / 86400)
  local name = key('d:' .. whole(day))
  local found = redis.call('HGET', name, group)
  local sums, is_zero = found and cmsgpack.unpack(found) or {0, 0, 0, 0, 0, 0}, true
  for place, amount in ipairs(amounts) do
    sums[place] = sums[place] + amount
    is_zero = is_zero and sums[place] == 0
  end
  if is_zero then return redis.call('HDEL', name, group) end
  if redis.call('HSET', name, group, cmsgpack.pack(sums)) == 0 then return end
  local keep_s = whole(math.max(1, (day + 1) * 86400 + SUMS_S - now))
  redis.call('EXPIRE', name, keep_s)
  redis.call('ZADD', key('days'), day, whole(day))
  redis.call('ZREMRANGEBYSCORE', key('days'), '-inf', whole((now - SUMS_S) / 86400 - 1))
  redis.call('EXPIRE', key('days'), whole(SUMS_S + 86400))
end

-- The same for a request whose group is only known from its record.
local function tally_record(id, sign, cost, presumed)
  local found = redis.call('HMGET', key('r:' .. id), 'json', 'state', 'at')
  local record, fields = cjson.decode(found[1]), {}
  for place, name in ipairs({'user', 'team', 'key', 'route', 'model', 'provider', 'config'}) do
    fields[place] = record[name] or ''
  end
  fields[8] = found[2]
  local usage = record.usage or {}
  local input, cached, output = usage.input_tokens or 0, usage.cached_input_tokens or 0, usage.output_tokens or 0
  local amounts = {sign, sign * input, sign * cached, sign * output, cost, presumed}
  tally(tonumber(found[3]), cmsgpack.pack(fields), amounts)
end

-- ---- requests. A hash each; its legs are {choice, granted, taken, is_ended, presumed}.

local function still_held(legs)
  local sum = 0
  for _, leg in ipairs(legs) do
    if not leg[4] then sum = sum + leg[2] end
  end
  return sum
end

-- Adds a request to the totals of its day, or takes it out of them (-1), with all that its row says.
local function tally_whole(id, sign)
  local found = redis.call('HMGET', key('r:' .. id), 'cost', 'presumed')
  tally_record(id, sign, sign * tonumber(found[1]), sign * tonumber(found[2]))
end

-- Makes an open request interrupted, its holds presumed (sign 1); or open again (-1), when its owner was only thought
-- dead, or when it was settled as interrupted and there is more to say.
local function move(id, legs, sign)
  for _, leg in ipairs(legs) do
    for _, taken in ipairs(leg[4] and {} or leg[3]) do add(taken, 0, -sign * taken[2], sign * taken[2]) end
  end
  local name, moved = 'r:' .. id, still_held(legs)
  if sign == -1 then tally_whole(id, -1) end
  redis.call('HSET', key(name), 'state', sign == 1 and 'interrupted' or 'open', 'held', whole(sign == 1 and 0 or moved))
  raise(name, 'presumed', sign * moved)
  if sign == 1 then tally_whole(id, 1) end
  raise('sums', 'held', -sign * moved)
  raise('sums', 'presumed', sign * moved)
end

-- The legs of a request that is not settled, whose holds count as held from here on; nil when it is settled, and its
-- state before, nil when it is not known.
local function open_legs(id)
  local found = redis.call('HMGET', key('r:' .. id), 'state', 'legs')
  if not found[2] or (found[1] ~= 'open' and found[1] ~= 'interrupted') then return nil, found[1] end
  local legs = cmsgpack.unpack(found[2])
  if found[1] == 'interrupted' then
    move(id, legs, -1)
    redis.call('ZREM', key('presumed'), id)
    redis.call('PERSIST', key('r:' .. id))
  end
  return legs, found[1]
end

local function end_leg(leg, cost, presumed)
  for _, taken in ipairs(leg[3]) do add(taken, cost, -taken[2], presumed) end
  leg[4], leg[5] = true, presumed
end

-- What is presumed stays until it is resolved; the rest goes after `keep_s`.
local function retire(id, presumed, keep_s)
  if presumed > 0 then
    redis.call('ZADD', key('presumed'), redis.call('HGET', key('r:' .. id), 'at'), id)
  else
    redis.call('ZREM', key('presumed'), id)
    redis.call('EXPIRE', key('r:' .. id), keep_s)
  end
end
