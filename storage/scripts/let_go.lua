-- Put a delivery's job back into its line, unless a worker has begun it: priority, entry, id.
-- Gives 1, or 0 if its job is not queued under this entry.
local entry, id = arg(2), arg(3)
local job = load_job(id)
if not job or job.entry ~= entry or job.status ~= 'queued' then return 0 end
put_back(id, job)
return 1
