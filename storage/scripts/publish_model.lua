-- Offer a model for a while: id, card, life ms, generation of the worker. Forgets those whose workers stopped renewing.
local now = now_ms()
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', key('models'), '-inf', now)) do
  redis.call('HDEL', key('model_cards'), gone)
  redis.call('ZREM', key('models'), gone)
end
if tonumber(arg(4) or 0) > tonumber(redis.call('GET', key('generation')) or 0) then
  redis.call('SET', key('generation'), arg(4))
end
redis.call('ZADD', key('models'), now + arg(3), arg(1))
redis.call('SET', key('offered'), string.format('%.0f', now))
redis.call('HSET', key('model_cards'), arg(1), arg(2))
return 1
