-- ARGV: now, earliest time. How many requests there are since then that are not open.
local since = tonumber(ARGV[2])
local count = redis.call('ZCOUNT', key('at'), ARGV[2], '+inf')
for _, owner in ipairs(redis.call('SMEMBERS', key('owners'))) do
  for _, id in ipairs(redis.call('SMEMBERS', key('o:' .. owner))) do
    local found = redis.call('HMGET', key('r:' .. id), 'state', 'at')
    if found[1] == 'open' and tonumber(found[2]) >= since then count = count - 1 end
  end
end
return count
