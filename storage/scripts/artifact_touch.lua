-- An artifact was used: project, id, video ('' none). Gives 0 if it is not listed.
local project, id, video = arg(1), arg(2), arg(3)
if redis.call('EXISTS', key('artifact', project, id)) == 0 then return 0 end
redis.call('ZADD', key('artifact_used', project), now_ms(), id)
if video ~= '' then redis.call('SADD', key('artifact_videos', project, id), video) end
return 1
