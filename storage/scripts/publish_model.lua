-- Offer a model for a while: id, card, life ms. Forgets those whose workers stopped renewing.
local now = now_ms()
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', key('models'), '-inf', now)) do
  redis.call('HDEL', key('model_cards'), gone)
  redis.call('ZREM', key('models'), gone)
end
redis.call('ZADD', key('models'), now + arg(3), arg(1))
redis.call('HSET', key('model_cards'), arg(1), arg(2))
return 1
