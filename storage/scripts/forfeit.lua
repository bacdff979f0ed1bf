-- End the lease of a worker known to be dead, so that the next claim need not wait for it:
-- id, worker, error. Gives 1 if the lease was that worker's. The fence still guards against it.
local id, worker, error = arg(1), arg(2), arg(3)
local job = load_job(id)
if not job or job.status ~= 'in_progress' or job.worker ~= worker then return 0 end
redis.call('HSET', key('job', id), 'lease_until', '0', 'last_error', error)
redis.call('ZADD', key('running'), 0, id)
return 1
