-- Cards of the models on offer, by id.
local cards = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('models'), '(' .. now_ms(), '+inf')) do
  cards[#cards + 1] = redis.call('HGET', key('model_cards'), id)
end
return cards
