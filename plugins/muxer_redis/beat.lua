-- ARGV: now, owner, seconds it then counts as alive.
redis.call('SET', key('alive:' .. ARGV[2]), '1', 'EX', ARGV[3])
return redis.call('SADD', key('owners'), ARGV[2])
