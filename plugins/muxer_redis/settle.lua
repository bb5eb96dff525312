-- ARGV: now, id, record as JSON, state, cost, presumed, tokens used or -1, {{cost, presumed, tokens or -1}, ...} of the
-- attempts, keep_s, epoch told, group, {input, cached, output} tokens. Returns -1 when its hold may have been lost, so that
-- it must wait.
local id, cost, presumed, used, keep_s = ARGV[2], ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[9])
local name = 'r:' .. id
if not is_known(ARGV[10], false) then return -1 end
local legs, before = open_legs(id)
if not before then
  -- Never held, or its hold is still on the way: a tombstone, so that a hold that comes after this takes nothing.
  redis.call('HSET', key(name), 'state', 'void')
  redis.call('EXPIRE', key(name), 86400)
  return 0
end
if not legs then return 0 end
local attempts = cmsgpack.unpack(ARGV[8])
raise('sums', 'held', -still_held(legs))
local of_legs = {}
for number, leg in ipairs(legs) do
  local ended = attempts[number] or {0, 0, 0}
  if not leg[4] then end_leg(leg, ended[1], ended[2]) end
  of_legs[number] = ended[3]
end
local found = redis.call('HMGET', key(name), 'presumed', 'owner', 'drawn', 'at')
raise('sums', 'presumed', presumed - tonumber(found[1]))
end_quotas(found[3], used, of_legs)
redis.call('SREM', key('o:' .. found[2]), id)
redis.call('HSET', key(name), 'json', ARGV[3], 'state', ARGV[4], 'cost', cost, 'presumed', whole(presumed), 'held', '0')
redis.call('HDEL', key(name), 'drawn', 'legs')
-- The legs are kept for as long as something is presumed, so that it can be resolved.
if presumed > 0 then redis.call('HSET', key(name), 'legs', cmsgpack.pack(legs)) end
local tokens = cmsgpack.unpack(ARGV[12])
tally(tonumber(found[4]), ARGV[11], {1, tokens[1], tokens[2], tokens[3], tonumber(cost), presumed})
if presumed > 0 then retire(id, presumed, keep_s) else redis.call('EXPIRE', key(name), whole(keep_s)) end
return 1
