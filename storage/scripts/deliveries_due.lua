-- Take deliveries that are due: limit, lease in ms, after which another may take them.
-- Gives {record...}; those whose record is gone are dropped.
local limit, lease_ms, now, records = arg(1), arg(2), now_ms(), {}
local due = key('deliveries_due')
for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, limit)) do
  local record = redis.call('GET', key('delivery', id))
  if record then
    redis.call('ZADD', due, now + lease_ms, id)
    records[#records + 1] = record
  else
    redis.call('ZREM', due, id)
  end
end
return records
