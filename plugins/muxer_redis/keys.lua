-- ARGV: now. Every key and when it was revoked, in no order.
local found, rows = redis.call('HGETALL', key('keys')), {}
for place = 1, #found, 2 do
  rows[#rows + 1] = {found[place + 1], redis.call('HGET', key('keys:revoked'), found[place]) or ''}
end
return rows
