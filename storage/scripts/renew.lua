-- Renew a lease, and publish an event if there is one: id, fence, lease ms, event type ('' none),
-- its data, step, total. Gives -1 if the claim lost the job, 1 if it should stop, else 0.
local id, fence, lease_ms, kind, data, step, total = arg(1), arg(2), arg(3), arg(4), arg(5), arg(6), arg(7)
local job = key('job', id)
local held = redis.call('HMGET', job, 'status', 'fence', 'cancel_requested')
if not holds({status = held[1], fence = held[2]}, fence) then return -1 end

local lease_until = now_ms() + lease_ms
redis.call('HSET', job, 'lease_until', lease_until)
redis.call('ZADD', key('running'), lease_until, id)
if kind ~= '' then
  redis.call('HSET', job, 'step', step, 'total_steps', total)
  append_event(id, kind, data)
end
return held[3] and 1 or 0
