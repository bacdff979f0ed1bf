-- Terminal jobs past their expiry, oldest first: limit. Gives {job...}.
local now_s, jobs = math.floor(now_ms() / 1000), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('expiring'), '-inf', now_s, 'LIMIT', 0, arg(1))) do
  local job = reply(id)
  if #job > 0 then jobs[#jobs + 1] = job else redis.call('ZREM', key('expiring'), id) end
end
return jobs
