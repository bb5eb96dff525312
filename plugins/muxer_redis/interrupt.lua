-- Moves what dead owners held to presumed, where it still counts (S10), and frees their slots (I11). Returns how many
-- requests that were; at most a hundred at once, so that the server stays quick: whoever gets a hundred asks again.
-- ARGV: now, an owner that says it leaves ('' for none), keep_s.
local keep_s, count = tonumber(ARGV[3]), 0

local function bury(owner)
  for _, id in ipairs(redis.call('SRANDMEMBER', key('o:' .. owner), 100 - count)) do
    local found = redis.call('HMGET', key('r:' .. id), 'state', 'legs', 'drawn')
    if found[1] == 'open' and found[2] then
      move(id, cmsgpack.unpack(found[2]), 1)
      end_quotas(found[3], -1)
      redis.call('HDEL', key('r:' .. id), 'drawn')
      retire(id, tonumber(redis.call('HGET', key('r:' .. id), 'presumed')), keep_s)
    end
    redis.call('SREM', key('o:' .. owner), id)
    count = count + 1
  end
  if redis.call('EXISTS', key('o:' .. owner)) == 0 then redis.call('SREM', key('owners'), owner) end
end

if ARGV[2] ~= '' then
  redis.call('DEL', key('alive:' .. ARGV[2]))
  has_told(ARGV[2])
  bury(ARGV[2])
end
for _, owner in ipairs(redis.call('SMEMBERS', key('owners'))) do
  if count >= 100 then return count end
  if redis.call('EXISTS', key('alive:' .. owner)) == 0 then bury(owner) end
end
redis.call('ZREMRANGEBYSCORE', key('at'), '-inf', whole(now - keep_s))
return count
