-- Forget a job: project, id, cursor life in s. Gives it as it was, {} if there is none.
-- A worker that still runs it finds no record at its next heartbeat, and stops.
local project, id, cursor_life_s = arg(1), arg(2), arg(3)
local job = load_job(id)
if not job or job.project ~= project then return {} end

local was = reply(id)
withdraw(id, job)
redis.call('ZREM', key('videos', project), id)
redis.call('SET', key('cursor', project, id), job.sequence, 'EX', cursor_life_s)
redis.call('ZREM', key('expiring'), id)
count_bytes(project, job.result, -1)
if job.dead_entry then redis.call('XDEL', key('dead'), job.dead_entry) end
redis.call('DEL', key('job', id), key('events', id))
return was
