-- ARGV: now, id, time. Marks a key as revoked, once, and returns it as `key` does.
local digest = redis.call('HGET', key('keys:ids'), ARGV[2])
if not digest then return {} end
local json = redis.call('HGET', key('keys'), digest)
if redis.call('HSETNX', key('keys:revoked'), digest, ARGV[3]) == 1 then
  redis.call('HDEL', key('keys:names'), cjson.decode(json).name)
end
return {{json, redis.call('HGET', key('keys:revoked'), digest)}}
