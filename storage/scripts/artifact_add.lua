-- List an artifact, or list it anew: project, id, summary, stored bytes, expires_at ('' never),
-- video ('' none), 1: not if it was removed just now. Gives 1, or 0 for that.
--
--   artifact:<project>:<id>          hash    summary, bytes
--   artifacts:<project>              zset    ids by sequence, for listing
--   artifact_used:<project>          zset    ids by last use, ms
--   artifact_videos:<project>:<id>   set     videos that made or used it
--   artifact_bytes                   hash    stored bytes by project
--   artifact_expiring                zset    "<project> <id>" by expiry, s
--   artifact_pins:<project>:<source> zset    holders by the end of their pin, ms
--   artifact_leaving:<project>:<source> string  being deleted: no new pins
--   artifact_removed:<project>:<id>  string  unlisted, its objects are going
--   capture:<project>:<id>           string  who captures it now
local project, id, summary, bytes, expires_at, video = arg(1), arg(2), arg(3), arg(4), arg(5), arg(6)
local record, removed = key('artifact', project, id), key('artifact_removed', project, id)
if arg(7) == '1' and redis.call('EXISTS', removed) == 1 then return 0 end
redis.call('DEL', removed)

redis.call('HINCRBY', key('artifact_bytes'), project,
  bytes - (redis.call('HGET', record, 'bytes') or 0))
redis.call('HSET', record, 'summary', summary, 'bytes', bytes)
if not redis.call('ZSCORE', key('artifacts', project), id) then
  redis.call('ZADD', key('artifacts', project), redis.call('INCR', key('artifact_sequence')), id)
end
redis.call('ZADD', key('artifact_used', project), 'NX', now_ms(), id)
redis.call('ZREM', key('artifact_expiring'), project .. ' ' .. id)  -- of when it was listed before
if expires_at ~= '' then
  redis.call('ZADD', key('artifact_expiring'), expires_at, project .. ' ' .. id)
end
if video ~= '' then redis.call('SADD', key('artifact_videos', project, id), video) end
return 1
