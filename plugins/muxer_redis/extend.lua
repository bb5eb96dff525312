-- ARGV: now, owner, id, leg, cost and presumed of the attempt before it ('' while it is under way), choice, epoch told,
-- tokens used by that attempt or -1.
local owner, id, number, cost, presumed = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local used = tonumber(ARGV[9])
local name = 'r:' .. id
if not is_known(ARGV[8], true) then return {-1} end
local legs = open_legs(id)
if not legs then return {0, {}} end -- settled, or never held: nothing more may be sent for it (I7)
-- Whoever extends it is alive: the request is now of that owner.
local was = redis.call('HGET', key(name), 'owner')
if was ~= owner then redis.call('SREM', key('o:' .. was), id) end
redis.call('SADD', key('o:' .. owner), id)
redis.call('SADD', key('owners'), owner)
redis.call('HSET', key(name), 'owner', owner)
if number > #legs then return {0, {}} end
if number < #legs then return {1, 0, legs[number + 1][2], {}, {}} end
local last = legs[number]
local before = still_held(legs)
local packed = redis.call('HGET', key(name), 'drawn')
local drawn = packed and cmsgpack.unpack(packed) or {}
if cost and not last[4] then
  end_leg(last, cost, presumed)
  raise(name, 'cost', cost)
  raise(name, 'presumed', presumed)
  raise('sums', 'presumed', presumed)
  local kept = {}
  for _, one in ipairs(drawn) do
    if one[7] == number - 1 then end_quota(one, used) else kept[#kept + 1] = one end
  end
  drawn = kept
end
local choice = cmsgpack.unpack(ARGV[7])
local refusal, nanos, taken = lacking(choice[5]), nil, nil
if not refusal then
  nanos, taken = take(choice)
  refusal = taken
end
if nanos then
  legs[#legs + 1] = {0, nanos, taken, false, 0}
  draw(choice[5], drawn)
end
local held = still_held(legs)
raise('sums', 'held', held - before)
redis.call('HSET', key(name), 'held', whole(held), 'legs', cmsgpack.pack(legs), 'drawn', cmsgpack.pack(drawn))
if nanos then return {1, 0, nanos, {}, {}} end
return {0, {refusal}}
