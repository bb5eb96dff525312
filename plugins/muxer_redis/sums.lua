-- ARGV: now. What is held and presumed over all requests.
local found = redis.call('HMGET', key('sums'), 'held', 'presumed')
return {tonumber(found[1] or 0), tonumber(found[2] or 0)}
