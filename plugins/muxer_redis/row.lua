-- ARGV: now, id. One record's row, in a list of its own; an empty list when there is none.
local row = redis.call('HMGET', key('r:' .. ARGV[2]), 'json', 'state', 'cost', 'presumed', 'held', 'feedback')
if not row[1] then return {} end
return {{ARGV[2], row[1], row[2], row[3], row[4], row[5], row[6] or ''}}
