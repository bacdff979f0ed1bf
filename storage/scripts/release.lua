-- Hand a claimed job back: id, fence, error ('' for a drain: then the attempt does not count),
-- attempt cap, error of a cancelled job, event_ttl_s, cap of faults of ours ('' if the error is the
-- job's own). Gives 1, or 0 if the claim lost the job.
-- A fault of ours is no attempt either: the job waits, twice as long each time, up to a minute.
local DELAY_MS, MAX_DELAY_MS = 1000, 60000
local id, fence, error, max_attempts = arg(1), arg(2), arg(3), tonumber(arg(4))
local cancelled, event_ttl_s, max_faults = arg(5), arg(6), tonumber(arg(7))
local job = load_job(id)
if job and job.released == fence then return 1 end
if not holds(job, fence) then return 0 end
redis.call('HSET', key('job', id), 'released', fence)
local faults = max_faults and redis.call('HINCRBY', key('job', id), 'faults', 1)
local last
if max_faults then last = faults >= max_faults else last = spent(job, max_attempts) end

if job.cancel_requested then
  finish(id, job, 'failed', 'error', cancelled, job.retention_s, event_ttl_s)
elseif error ~= '' and last then
  bury(id, job, error, event_ttl_s)
else
  if error ~= '' then redis.call('HSET', key('job', id), 'last_error', error) end
  if error == '' or max_faults then redis.call('HINCRBY', key('job', id), 'attempts', -1) end
  enqueue(id, max_faults and math.min(MAX_DELAY_MS, DELAY_MS * 2 ^ (faults - 1)) or 0)
end
return 1
