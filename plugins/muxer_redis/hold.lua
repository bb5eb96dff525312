-- ARGV: now, owner, id, at, user, record as JSON, choices, seconds for which records are kept, epoch told.
local owner, id, at, user, record, keep_s = ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[8])
local choices = cmsgpack.unpack(ARGV[7])
local name = 'r:' .. id

local function granted(index, nanos, standings)
  local choice, budgets, quotas = choices[math.min(index + 1, #choices)], standings or {}, {}
  for number, claim in ipairs(standings and {} or choice[4]) do budgets[number] = standing(claim) end
  for number, quota in ipairs(choice[5]) do quotas[number] = quota_standing(quota) end
  return {1, index, nanos, budgets, quotas}
end

if redis.call('EXISTS', key(name)) == 1 then
  local legs = redis.call('HGET', key(name), 'legs')
  local first = legs and cmsgpack.unpack(legs)[1] or {0, 0}
  return granted(first[1], first[2])
end

if not is_known(ARGV[9], true) then return {-1} end

local refusals = {}
for number, choice in ipairs(choices) do
  local refusal, nanos, taken, standings = lacking(choice[5]), nil, nil, nil
  if not refusal then
    nanos, taken, standings = take(choice)
    refusal = taken
  end
  if nanos then
    local drawn = draw(choice[5], {})
    redis.call('HSET', key(name), 'json', record, 'state', 'open', 'at', at, 'owner', owner, 'cost', '0',
      'presumed', '0', 'held', whole(nanos), 'legs', cmsgpack.pack({{number - 1, nanos, taken, false, 0}}),
      'drawn', cmsgpack.pack(drawn))
    redis.call('ZADD', key('at'), at, id)
    redis.call('ZADD', key('at:' .. user), at, id)
    if redis.call('TTL', key('at:' .. user)) <= keep_s then -- once a day is enough
      redis.call('ZREMRANGEBYSCORE', key('at:' .. user), '-inf', whole(now - keep_s))
      redis.call('EXPIRE', key('at:' .. user), keep_s + 86400)
    end
    redis.call('SADD', key('o:' .. owner), id)
    redis.call('SADD', key('owners'), owner) -- so that a sweep finds it even before its next heartbeat
    raise('sums', 'held', nanos)
    return granted(number - 1, nanos, standings)
  end
  refusals[#refusals + 1] = refusal
end
return {0, refusals}
