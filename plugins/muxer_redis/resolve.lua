-- ARGV: now, id, cost, keep_s. Replaces what is presumed for a request by what it cost.
local id, cost, keep_s = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local name = 'r:' .. id
local found = redis.call('HMGET', key(name), 'state', 'legs', 'presumed')
if found[1] == 'open' or not found[2] then return 0 end
-- Nobody knows how it was split among the legs: each account is booked the most that its own can have made (I1).
local bound, accounts, at = 0, {}, {}
for _, leg in ipairs(cmsgpack.unpack(found[2])) do
  local unknown = leg[4] and leg[5] or leg[2]
  bound = bound + unknown
  for _, taken in ipairs(unknown > 0 and leg[3] or {}) do
    if not at[taken[1]] then
      at[taken[1]] = {taken, 0, 0}
      accounts[#accounts + 1] = at[taken[1]]
    end
    local one = at[taken[1]]
    one[2], one[3] = one[2] + unknown, one[3] + (leg[4] and leg[5] or taken[2])
  end
end
if bound == 0 then return 0 end
for _, one in ipairs(accounts) do
  add(one[1], math.min(cost, one[2] + math.max(0, cost - bound)), 0, -one[3])
end
raise('sums', 'presumed', -tonumber(found[3]))
raise(name, 'cost', cost)
tally_record(id, 0, cost, -tonumber(found[3]))
redis.call('HSET', key(name), 'presumed', '0')
redis.call('HDEL', key(name), 'legs')
retire(id, 0, keep_s)
return 1
