-- ARGV: now, digest, id, time, the request as JSON, the id in whose place it is kept all the same, seconds it is kept.
-- Returns the JSON of the request that is kept.
local name, keep_s = key('keyed:' .. ARGV[2]), tonumber(ARGV[7])
local found = redis.call('HMGET', name, 'id', 'at', 'json')
if found[1] and found[1] ~= ARGV[6] and tonumber(found[2]) > tonumber(ARGV[4]) - keep_s then return found[3] end
redis.call('HSET', name, 'id', ARGV[3], 'at', ARGV[4], 'json', ARGV[5])
redis.call('EXPIRE', name, keep_s)
return ARGV[5]
