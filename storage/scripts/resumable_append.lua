-- Note a piece of an upload that arrives in pieces: project, id, the offset that it begins at, its
-- bytes, its object's name, expires_at (s).
--
--   resumable:<project>:<id>  hash  length, offset, filename, expires_at, parts, upload
--   resumable_expiring        zset  "<project> <id>" by expiry, s
-- Gives 1; 0 where the upload is gone, or is at another offset: a second sender was faster.
local project, id, offset, bytes, part, expires_at =
  arg(1), arg(2), arg(3), arg(4), arg(5), arg(6)
local record = key('resumable', project, id)

if redis.call('HGET', record, 'offset') ~= offset then return 0 end
redis.call('HINCRBY', record, 'offset', bytes)
local parts = redis.call('HGET', record, 'parts')
redis.call('HSET', record, 'parts', parts == '' and part or parts .. ' ' .. part)
redis.call('HSET', record, 'expires_at', expires_at)
redis.call('ZADD', key('resumable_expiring'), expires_at, project .. ' ' .. id)
return 1
