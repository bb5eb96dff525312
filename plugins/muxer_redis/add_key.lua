-- ARGV: now, id, digest, name, json. Keeps a new key unless one in force has its name; the same id again is no change.
if redis.call('HEXISTS', key('keys:ids'), ARGV[2]) == 1 then return 1 end
if redis.call('HSETNX', key('keys:names'), ARGV[4], ARGV[2]) == 0 then return 0 end
redis.call('HSET', key('keys:ids'), ARGV[2], ARGV[3])
redis.call('HSET', key('keys'), ARGV[3], ARGV[5])
return 1
