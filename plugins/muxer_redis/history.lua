-- ARGV: now, index, earliest time, time and id of the last one had ('' for none), how many. Returns ids, times and rows,
-- the oldest first.
local name, since, at, id, count = key(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local rank = id ~= '' and redis.call('ZRANK', name, id)
-- The last one had may have been let go meanwhile, and with it all that are as old.
local first = rank and rank + 1 or redis.call('ZCOUNT', name, '-inf', '(' .. (id ~= '' and at or since))
local found, rows = redis.call('ZRANGE', name, first, first + count - 1, 'WITHSCORES'), {}
for place = 1, #found, 2 do
  local row = redis.call('HMGET', key('r:' .. found[place]), 'json', 'state', 'cost', 'presumed', 'held', 'feedback')
  rows[#rows + 1] = {
    found[place], found[place + 1],
    {found[place], row[1] or '', row[2] or '', row[3] or '0', row[4] or '0', row[5] or '0', row[6] or ''},
  }
end
return rows
