-- ARGV: now, cursor, about how many. The next cursor, '0' at the end, and keys with when they were revoked, in no order.
-- A key may come twice.
local found, rows = redis.call('HSCAN', key('keys'), ARGV[2], 'COUNT', ARGV[3]), {}
for place = 1, #found[2], 2 do
  rows[#rows + 1] = {found[2][place + 1], redis.call('HGET', key('keys:revoked'), found[2][place]) or ''}
end
return {found[1], rows}
