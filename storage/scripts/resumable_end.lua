-- End an upload that arrives in pieces: project, id, the upload that it became ('' none: forget it),
-- before ('' always; else only if it expires before, s). See resumable_append.lua.
--
-- Its length, which counted as stored from the beginning, no longer does.
-- Gives 1; 0 where it is gone, was ended so before, or is not over.
local project, id, upload, before = arg(1), arg(2), arg(3), arg(4)
local record, member = key('resumable', project, id), project .. ' ' .. id

local found = redis.call('HMGET', record, 'length', 'upload', 'expires_at')
if not found[1] then
  redis.call('ZREM', key('resumable_expiring'), member)
  return 0
end
if before ~= '' and tonumber(found[3]) > tonumber(before) then return 0 end
if found[2] == '' then
  if redis.call('HINCRBY', key('upload_bytes'), project, -found[1]) == 0 then
    redis.call('HDEL', key('upload_bytes'), project)
  end
elseif upload ~= '' then
  return 0
end
if upload == '' then
  redis.call('DEL', record)
  redis.call('ZREM', key('resumable_expiring'), member)
else
  redis.call('HSET', record, 'upload', upload, 'offset', found[1], 'parts', '')
end
return 1
