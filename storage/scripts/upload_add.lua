-- List an upload, or keep it longer: project, id, record, bytes, expires_at ('' never), source
-- ('' none).
--
--   uploads:<project>              hash    records by id
--   upload_bytes                   hash    stored bytes by project
--   upload_expiring                zset    "<project> <id>" by expiry, s
--   upload_sources:<project>:<id>  set     keys of sources that were made of it
-- Gives its record.
local project, id, record, bytes, expires_at, source =
  arg(1), arg(2), arg(3), arg(4), arg(5), arg(6)
local uploads = key('uploads', project)

local held = redis.call('HGET', uploads, id)
if not held then redis.call('HINCRBY', key('upload_bytes'), project, bytes) end
redis.call('HSET', uploads, id, record)
if expires_at == '' then
  redis.call('ZREM', key('upload_expiring'), project .. ' ' .. id)
else
  redis.call('ZADD', key('upload_expiring'), expires_at, project .. ' ' .. id)
end
if source ~= '' then redis.call('SADD', key('upload_sources', project, id), source) end
return record
