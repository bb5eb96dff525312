-- ARGV: now. 1 if a key was ever made.
return redis.call('EXISTS', key('keys'))
