-- Unlist an artifact, and forget the jobs that make pictures of its maps: project, id, source,
-- leaving_ms ('' even while it is pinned), how long its objects may take to go, ms.
-- Gives 1; 0 where a live pin keeps it, and then nothing changes.
local project, id, source, leaving_ms = arg(1), arg(2), arg(3), arg(4)
local pins = key('artifact_pins', project, source)

redis.call('ZREMRANGEBYSCORE', pins, '-inf', now_ms())
if leaving_ms ~= '' then
  if redis.call('ZCARD', pins) > 0 then return 0 end
  redis.call('SET', key('artifact_leaving', project, source), 1, 'PX', leaving_ms)
end
for _, map in ipairs(redis.call('SMEMBERS', key('artifact_maps', project, id))) do
  local job = load_job(map)
  if job then forget(map, job) end
end
local bytes = redis.call('HGET', key('artifact', project, id), 'bytes') or 0
redis.call('HINCRBY', key('artifact_bytes'), project, -bytes)
redis.call('DEL', key('artifact', project, id), key('artifact_videos', project, id))
redis.call('ZREM', key('artifacts', project), id)
redis.call('SET', key('artifact_removed', project, id), 1, 'PX', arg(5))
redis.call('ZREM', key('artifact_used', project), id)
redis.call('ZREM', key('artifact_expiring'), project .. ' ' .. id)
return 1
