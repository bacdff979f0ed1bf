-- End a claimed job: id, fence, status, field ('result', 'map', 'analysis', 'error'), its JSON,
-- retention_s ('' as submitted), event_ttl_s. Gives 1, or 0 if the claim lost the job. The same end again gives 1.
local id, fence, status, field, value, retention_s, event_ttl_s =
  arg(1), arg(2), arg(3), arg(4), arg(5), arg(6), arg(7)
local job = load_job(id)
if job and job.fence == fence and job.status == status and job[field] == value then return 1 end
if not holds(job, fence) then return 0 end
if retention_s == '' then retention_s = job.retention_s end
finish(id, job, status, field, value, retention_s, event_ttl_s)
return 1
