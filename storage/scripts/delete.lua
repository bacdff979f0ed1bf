-- Forget a job: project, id, cursor life in s. Gives it as it was, {} if there is none.
local project, id, cursor_life_s = arg(1), arg(2), arg(3)
local job = load_job(id)
if not job or job.project ~= project then return {} end

local was = reply(id)
if job.sequence then  -- it is listed
  redis.call('SET', key('cursor', project, id), job.sequence, 'EX', cursor_life_s)
end
forget(id, job)
return was
