-- Be the one who captures: project, id, holder, ttl_ms, video. Again by the same holder: a renewal.
-- Gives 0 while another holds it.
-- video: whose earlier attempts, the holders `<video>/…`, are dead: their claim is taken over. ''
-- for a renewal, so that an attempt that only seemed dead does not take it back.
local lease, holder, ttl_ms, video = key('capture', arg(1), arg(2)), arg(3), arg(4), arg(5)
local held = redis.call('GET', lease)
local own = held == holder or (video ~= '' and held and held:sub(1, #video + 1) == video .. '/')
if held and not own then return 0 end
redis.call('SET', lease, holder, 'PX', ttl_ms)
return 1
