-- ARGV: now, digest. The key of that digest and when it was revoked, in a list of its own; an empty list for none.
local json = redis.call('HGET', key('keys'), ARGV[2])
if not json then return {} end
return {{json, redis.call('HGET', key('keys:revoked'), ARGV[2]) or ''}}
