-- Take a job to run it: id, worker, claim id, lease ms, attempt cap, error of a cancelled job,
-- error of a job whose workers all vanished, event_ttl_s. Gives {fence, job}, or {} if it is
-- deleted, terminal, cancelled, held by a live lease, of a paused model or out of attempts (the last
-- is failed here).
--
-- A worker that vanished may have been killed from outside, or by the job, which then kills each at
-- the same step. So an attempt that ends in a loss is forgiven, unless the loss before was at the same
-- step (or one off: the last step may not have been told), and up to MANY_LOSSES.
local MANY_LOSSES = 10
local id, worker, claim_id, lease_ms, max_attempts = arg(1), arg(2), arg(3), arg(4), tonumber(arg(5))
local cancelled, lost, event_ttl_s = arg(6), arg(7), arg(8)
local job = load_job(id)
if not job or terminal(job) then return {} end

local now = now_ms()
if job.status == 'in_progress' and tonumber(job.lease_until) > now then
  -- the same claim again: its answer was lost on the way
  if job.claim_id == claim_id then return {job.fence, reply(id)} end
  return {}
end
if job.cancel_requested then
  finish(id, job, 'failed', 'error', cancelled, job.retention_s, event_ttl_s)
  return {}
end
if job.status == 'in_progress' then  -- its worker is lost
  local losses = redis.call('HINCRBY', key('job', id), 'losses', 1)
  local again = job.lost_at and math.abs(job.lost_at - job.step) <= 1
  if not again and losses < MANY_LOSSES then
    job.forgiven = redis.call('HINCRBY', key('job', id), 'forgiven', 1)
  end
  redis.call('HSET', key('job', id), 'lost_at', job.step)
elseif redis.call('SISMEMBER', key('paused'), job.model or '') == 1 then
  if job.entry then put_back(id, job) end
  return {}
end
if spent(job, max_attempts) then
  bury(id, job, job.last_error or lost, event_ttl_s)
  return {}
end

-- From the clock, so that a fence is never given twice even if the newest writes were lost in a
-- crash; and above the last one, whatever the clock does.
local fence = string.format('%.0f', math.max(now, job.fence + 1))
local attempt = redis.call('HINCRBY', key('job', id), 'attempts', 1)
redis.call('HSETNX', key('job', id), 'started_at', math.floor(now / 1000))
redis.call('HSET', key('job', id), 'status', 'in_progress', 'fence', fence, 'worker', worker,
  'claim_id', claim_id, 'lease_until', now + lease_ms, 'step', '0')
redis.call('ZADD', key('running'), now + lease_ms, id)
redis.call('SREM', key('waiting', job.priority), id)
redis.call('ZREM', key('start_by'), id)
append_event(id, 'started', cjson.encode({attempt = attempt}))
return {fence, reply(id)}
