-- ARGV: now, day. What its requests add up to: groups with their sums, and the rows of those still open.
local day, rows = tonumber(ARGV[2]), {}
for _, owner in ipairs(redis.call('SMEMBERS', key('owners'))) do
  for _, id in ipairs(redis.call('SMEMBERS', key('o:' .. owner))) do
    local row = redis.call('HMGET', key('r:' .. id), 'json', 'state', 'cost', 'presumed', 'held', 'at')
    if row[2] == 'open' and math.floor(tonumber(row[6]) / 86400) == day then
      rows[#rows + 1] = {id, row[1], row[2], row[3], row[4], row[5]}
    end
  end
end
return {redis.call('HGETALL', key('d:' .. ARGV[2])), rows}
