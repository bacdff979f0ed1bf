-- Unlist an upload: project, id, before ('' always; else only if it expires before, s).
-- Gives {record, source...}; nothing where it is not listed or not over.
local project, id, before = arg(1), arg(2), arg(3)
local uploads, member = key('uploads', project), project .. ' ' .. id

local record = redis.call('HGET', uploads, id)
if not record then return {} end
if before ~= '' then
  local expires_at = redis.call('ZSCORE', key('upload_expiring'), member)
  if not expires_at or tonumber(expires_at) > tonumber(before) then return {} end
end
local sources = redis.call('SMEMBERS', key('upload_sources', project, id))
redis.call('HDEL', uploads, id)
redis.call('DEL', key('upload_sources', project, id))
redis.call('ZREM', key('upload_expiring'), member)
local bytes = cjson.decode(record).bytes
if redis.call('HINCRBY', key('upload_bytes'), project, -bytes) == 0 then
  redis.call('HDEL', key('upload_bytes'), project)
end
return {record, unpack(sources)}
