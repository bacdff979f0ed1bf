-- Renew a lease, and publish an event if there is one: id, fence, lease ms, event type ('' none),
-- its data, step, total. Gives -1 if the claim lost the job, 1 if it should stop, else 0.
local PREVIEWS_KEPT = 8
local id, fence, lease_ms, kind, data, step, total = arg(1), arg(2), arg(3), arg(4), arg(5), arg(6), arg(7)
local job = key('job', id)

-- Pictures are large and each one makes the last one old: a job's stream keeps the newest few.
local function keep_newest_previews(id, entry)
  local kept = {}
  for one in string.gmatch(redis.call('HGET', job, 'previews') or '', '%S+') do
    kept[#kept + 1] = one
  end
  kept[#kept + 1] = entry
  while #kept > PREVIEWS_KEPT do redis.call('XDEL', key('events', id), table.remove(kept, 1)) end
  redis.call('HSET', job, 'previews', table.concat(kept, ' '))
end

local held = redis.call('HMGET', job, 'status', 'fence', 'cancel_requested')
if not holds({status = held[1], fence = held[2]}, fence) then return -1 end

local lease_until = now_ms() + lease_ms
redis.call('HSET', job, 'lease_until', lease_until)
redis.call('ZADD', key('running'), lease_until, id)
if kind ~= '' then
  redis.call('HSET', job, 'step', step, 'total_steps', total)
  local entry = append_event(id, kind, data)
  if kind == 'preview' then keep_newest_previews(id, entry) end
end
return held[3] and 1 or 0
