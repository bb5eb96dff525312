-- feedback
-- ARGV: now, id, score, `=` and the user ('' for anybody), quotas, epoch told. Returns {1, 1}, {1, 0} without such a
-- record, {-1} when it may have been lost, so that it must be asked again, and {0, {refusal}} for a quota that has not what
-- is asked of it.
local id, score, user, quotas = ARGV[2], ARGV[3], ARGV[4], cmsgpack.unpack(ARGV[5])
if not is_known(ARGV[6], true) then return {-1} end
for number, quota in ipairs(quotas) do
  local found = quota_standing(quota)
  if quota[5] > found[1] then return {0, {{1, number - 1, 0, found[1], found[2], found[3], 0}}} end
end
local drawn = {}
for _, quota in ipairs(quotas) do
  if not drawn[quota[1]] then
    drawn[quota[1]] = true
    change_quota(quota, quota[5])
  end
end
local json = redis.call('HGET', key('r:' .. id), 'json')
if not json or (user ~= '' and '=' .. cjson.decode(json).user ~= user) then return {1, 0} end
redis.call('HSET', key('r:' .. id), 'feedback', score)
return {1, 1}
