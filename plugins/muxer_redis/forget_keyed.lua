-- ARGV: now, digest, id. Forgets this request under its caller's key; another one stays.
local name = key('keyed:' .. ARGV[2])
if redis.call('HGET', name, 'id') == ARGV[3] then redis.call('DEL', name) end
return 1
