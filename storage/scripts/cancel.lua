-- Ask a job to stop: project, id, error to fail with, event_ttl_s. Gives the job, {} if none.
-- Without a live lease nobody is there to hear it: it ends at once.
local project, id, error, event_ttl_s = arg(1), arg(2), arg(3), arg(4)
local job = load_job(id)
if not job or job.project ~= project then return {} end
if terminal(job) then return reply(id) end

local leased = job.status == 'in_progress' and tonumber(job.lease_until) > now_ms()
redis.call('HSET', key('job', id), 'cancel_requested', '1')
if not leased then
  finish(id, job, 'failed', 'error', error, job.retention_s, event_ttl_s)
end
return reply(id)
