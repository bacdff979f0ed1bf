-- End a claimed job: id, fence, status, field ('result', 'map', 'analysis', 'error'), its JSON,
-- retention_s ('' as submitted), event_ttl_s, error of a cancelled job. Gives 1, or 0 if the claim
-- lost the job. The same end again gives 1. A job that was cancelled meanwhile ends so, and the
-- claim has lost it.
local id, fence, status, field, value, retention_s, event_ttl_s, cancelled =
  arg(1), arg(2), arg(3), arg(4), arg(5), arg(6), arg(7), arg(8)
local job = load_job(id)
if job and job.fence == fence and job.status == status and job[field] == value then return 1 end
if not holds(job, fence) then return 0 end
if retention_s == '' then retention_s = job.retention_s end
if job.cancel_requested and status == 'completed' then
  finish(id, job, 'failed', 'error', cancelled, retention_s, event_ttl_s)
  return 0
end
finish(id, job, status, field, value, retention_s, event_ttl_s)
return 1
