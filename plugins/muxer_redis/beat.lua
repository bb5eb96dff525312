-- Says that an owner lives, and finds out whether the server still knows what that owner has told it (S17).
-- ARGV: now, owner, seconds it then counts as alive, the epoch it has told everything to ('' when it only begins), an id
-- for a new epoch, the owners it knows. Returns the epoch, and the owners.
local owner, told, fresh, known = ARGV[2], ARGV[4], ARGV[5], cmsgpack.unpack(ARGV[6])
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') or ''
local epoch = redis.call('HMGET', key('epoch'), 'id', 'run', 'until')
local owners = redis.call('SMEMBERS', key('owners'))

local function await(who)
  if #who == 0 then return end
  redis.call('SADD', key('awaited'), unpack(who))
  redis.call('EXPIRE', key('awaited'), 60)
end

-- Nothing was lost with an epoch that this owner never saw. Another server, or the same one started again, may be behind
-- on what it was told; then whoever may be alive has to tell it again.
if not epoch[1] or epoch[2] ~= run then
  redis.call('DEL', key('awaited'))
  await(owners)
  await(known)
  if told ~= '' then await({owner}) else redis.call('SREM', key('awaited'), owner) end
  local is_open = redis.call('EXISTS', key('awaited')) == 0
  epoch = {fresh, run, is_open and '0' or reopening()}
  redis.call('HSET', key('epoch'), 'id', epoch[1], 'run', run, 'until', epoch[3])
elseif told == epoch[1] then
  has_told(owner)
elseif told ~= '' and redis.call('SADD', key('awaited'), owner) == 1 and not is_closed(epoch[3]) then
  redis.call('EXPIRE', key('awaited'), 60)
  redis.call('HSET', key('epoch'), 'until', reopening())
end
redis.call('SET', key('alive:' .. owner), '1', 'EX', ARGV[3])
redis.call('SADD', key('owners'), owner)
return {epoch[1], redis.call('SMEMBERS', key('owners'))}
