-- Hand a claimed job back: id, fence, error ('' for a drain: then the attempt does not count),
-- attempt cap, error of a cancelled job, event_ttl_s. Gives 1, or 0 if the claim lost the job.
local id, fence, error, max_attempts = arg(1), arg(2), arg(3), tonumber(arg(4))
local cancelled, event_ttl_s = arg(5), arg(6)
local job = load_job(id)
if job and job.released == fence then return 1 end
if not holds(job, fence) then return 0 end
redis.call('HSET', key('job', id), 'released', fence)

if job.cancel_requested then
  finish(id, job, 'failed', 'error', cancelled, job.retention_s, event_ttl_s)
elseif error ~= '' and tonumber(job.attempts) >= max_attempts then
  bury(id, job, error, event_ttl_s)
else
  if error == '' then
    redis.call('HINCRBY', key('job', id), 'attempts', -1)
  else
    redis.call('HSET', key('job', id), 'last_error', error)
  end
  drop_entry(job.priority, job.entry)
  enqueue(id, job.priority, job.project)
end
return 1
