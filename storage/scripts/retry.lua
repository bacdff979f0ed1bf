-- Queue a failed job again, as if new: id. Gives {status before, job}, {} if there is none.
local id = arg(1)
local job = load_job(id)
if not job then return {} end
if job.status == 'failed' then
  if job.dead_entry then redis.call('XDEL', key('dead'), job.dead_entry) end
  redis.call('ZREM', key('expiring'), id)
  redis.call('HSET', key('job', id), 'attempts', '0')
  redis.call('HDEL', key('job', id), 'error', 'last_error', 'dead_entry', 'cancel_requested',
    'started_at', 'completed_at', 'expires_at')
  enqueue(id, job.priority, job.project)
  redis.call('PERSIST', key('events', id))
end
return {job.status, reply(id)}
