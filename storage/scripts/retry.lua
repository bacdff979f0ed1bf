-- Queue a failed job again, as if new: id. Gives {status before, job}, {} if there is none.
local id = arg(1)
local job = load_job(id)
if not job then return {} end
if job.status == 'failed' then renew_failed(id, job) end
return {job.status, reply(id)}
