-- Queue a delivery once: project, id, record, created_at in s, life of the record in s. Gives 1, or
-- 0 if it was queued before.
local project, id, record, created_at, life_s = arg(1), arg(2), arg(3), arg(4), arg(5)
if not redis.call('SET', key('delivery', id), record, 'NX', 'EX', life_s) then return 0 end
redis.call('ZADD', key('deliveries_due'), now_ms(), id)
redis.call('ZREMRANGEBYSCORE', key('deliveries', project), '-inf', created_at - life_s)
redis.call('ZADD', key('deliveries', project), created_at, id)
redis.call('EXPIRE', key('deliveries', project), life_s)
return 1
