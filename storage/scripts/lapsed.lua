-- Running jobs whose lease is over and that nobody took since: limit. Gives {id...}.
return redis.call('ZRANGEBYSCORE', key('running'), '-inf', now_ms(), 'LIMIT', 0, arg(1))
