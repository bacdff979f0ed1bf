-- Keep all artifacts of a source from retention: project, source, holder, ttl_ms.
-- Gives 0 where one is being deleted at this moment: then it is not to be read.
local project, source, holder, ttl_ms = arg(1), arg(2), arg(3), tonumber(arg(4))
if redis.call('EXISTS', key('artifact_leaving', project, source)) == 1 then return 0 end
local pins = key('artifact_pins', project, source)
redis.call('ZADD', pins, now_ms() + ttl_ms, holder)
redis.call('PEXPIRE', pins, math.max(ttl_ms, redis.call('PTTL', pins)))
return 1
