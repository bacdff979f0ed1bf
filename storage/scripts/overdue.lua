-- End the jobs that should have started by now: their error, event_ttl_s. Gives how many.
local error, event_ttl_s, ended = arg(1), arg(2), 0
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('start_by'), '-inf', now_ms(), 'LIMIT', 0, 100)) do
  local job = load_job(id)
  redis.call('ZREM', key('start_by'), id)
  if job and job.status == 'queued' then
    finish(id, job, 'failed', 'error', error, job.retention_s, event_ttl_s)
    ended = ended + 1
  end
end
return ended
