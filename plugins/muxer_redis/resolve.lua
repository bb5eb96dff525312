-- ARGV: now, id, cost, keep_s. Replaces what is presumed for a request by what it cost.
local id, cost, keep_s = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local name = 'r:' .. id
local found = redis.call('HMGET', key(name), 'state', 'legs', 'presumed')
if found[1] == 'open' or not found[2] then return 0 end
local left = cost
for _, leg in ipairs(cmsgpack.unpack(found[2])) do
  if not leg[4] or leg[5] ~= 0 then
    for _, taken in ipairs(leg[3]) do add(taken, left, 0, -(leg[4] and leg[5] or taken[2])) end
    left = 0 -- the whole of it is booked with the first leg whose cost was unknown
  end
end
raise('sums', 'presumed', -tonumber(found[3]))
raise(name, 'cost', cost)
tally_record(id, 0, cost, -tonumber(found[3]))
redis.call('HSET', key(name), 'presumed', '0')
redis.call('HDEL', key(name), 'legs')
retire(id, 0, keep_s)
return 1
