-- ARGV: now, index, id of the last one had ('' for none), earliest time, how many, time
-- before which they are ('' for any). Returns ids and rows, newest first.
local name, after, since, count = key(ARGV[2]), ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local first = ARGV[6] ~= '' and redis.call('ZCOUNT', name, ARGV[6], '+inf') or 0
if count < 1 then return {} end
if after ~= '' then
  local rank = redis.call('ZREVRANK', name, after)
  if not rank then return {} end -- so old that it was let go meanwhile, and so is all behind it
  first = rank + 1
end
local found, rows = redis.call('ZREVRANGE', name, first, first + count - 1, 'WITHSCORES'), {}
for place = 1, #found, 2 do
  if tonumber(found[place + 1]) < since then return rows end
  local row = redis.call('HMGET', key('r:' .. found[place]), 'json', 'state', 'cost', 'presumed', 'held', 'feedback')
  rows[#rows + 1] = {found[place], row[1] or '', row[2] or '', row[3] or '0', row[4] or '0', row[5] or '0',
    row[6] or ''}
end
return rows
