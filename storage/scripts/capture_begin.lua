-- Be the one who captures: project, id, holder, ttl_ms. Again by the same holder: a renewal.
-- Gives 0 while another holds it.
local lease, holder, ttl_ms = key('capture', arg(1), arg(2)), arg(3), arg(4)
local held = redis.call('GET', lease)
if held and held ~= holder then return 0 end
redis.call('SET', lease, holder, 'PX', ttl_ms)
return 1
