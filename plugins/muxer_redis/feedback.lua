-- feedback
-- ARGV: now, id, score, `=` and the user ('' for anybody), quotas, epoch told. Returns {1, 1}, {1, 0} without such a
-- record, {-1} when it may have been lost, so that it must be asked again, and {0, {refusal}} for a quota that has not what
-- is asked of it.
local id, score, user, quotas = ARGV[2], ARGV[3], ARGV[4], cmsgpack.unpack(ARGV[5])
if not is_known(ARGV[6], true) then return {-1} end
local refusal = lacking(quotas)
if refusal then return {0, {refusal}} end
draw(quotas, {})
local json = redis.call('HGET', key('r:' .. id), 'json')
if not json or (user ~= '' and '=' .. cjson.decode(json).user ~= user) then return {1, 0} end
redis.call('HSET', key('r:' .. id), 'feedback', score)
return {1, 1}
