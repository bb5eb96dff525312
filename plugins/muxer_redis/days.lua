-- ARGV: now, first day. The days from then on in which there were requests.
local days, seen = redis.call('ZRANGEBYSCORE', key('days'), ARGV[2], '+inf'), {}
for _, day in ipairs(days) do seen[day] = true end
for _, owner in ipairs(redis.call('SMEMBERS', key('owners'))) do
  for _, id in ipairs(redis.call('SMEMBERS', key('o:' .. owner))) do
    local day = math.floor(tonumber(redis.call('HGET', key('r:' .. id), 'at') or 0) / 86400)
    if day >= tonumber(ARGV[2]) and not seen[whole(day)] then
      seen[whole(day)] = true
      days[#days + 1] = whole(day)
    end
  end
end
return days
