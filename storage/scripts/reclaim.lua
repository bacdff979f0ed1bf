-- Entries whose consumer went silent: consumer, idle ms, least number to stop at, generation.
-- Gives {delivery...}; none to a generation that another took over from.
-- Also forgets consumers that have nothing and went unseen ten times as long; one that is alive
-- after all is known again with its next read.
local consumer, idle_ms, limit = arg(1), tonumber(arg(2)), tonumber(arg(3))
local found = {}
if superseded(arg(4)) then return found end
for _, priority in ipairs(PRIORITIES) do
  local queue = key('queue', priority)
  make_group(priority)
  local cursor = '0-0'
  repeat
    local got = redis.call('XAUTOCLAIM', queue, GROUP, consumer, idle_ms, cursor, 'COUNT', limit)
    cursor = got[1]
    for _, entry in ipairs(got[2]) do
      local wanted = delivery(priority, entry)
      if wanted then found[#found + 1] = wanted end
    end
  until cursor == '0-0' or #found >= limit
  for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', queue, GROUP)) do
    local seen = {}
    for i = 1, #info, 2 do seen[info[i]] = info[i + 1] end
    if seen.pending == 0 and seen.idle >= 10 * idle_ms then
      redis.call('XGROUP', 'DELCONSUMER', queue, GROUP, seen.name)
    end
  end
end
return found
