-- New entries for a consumer: consumer, capacity, turns. Gives {marks, delivery...}.
-- turns: one digit per turn, the priority (1 high … 3 low) that goes first in it; the others
-- follow where that one is empty. Marks, where there is nothing to deliver: the newest id that
-- each queue ever had, to wait for a newer one.
local consumer, capacity, turns = arg(1), tonumber(arg(2)), arg(3)

local function next_of(priority)
  local command = {'XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS',
    key('queue', priority), '>'}
  local got = redis.pcall(unpack(command))
  if got and got.err then
    make_group(priority)
    got = redis.call(unpack(command))
  end
  return got and got[1][2][1]
end

local function next_delivery(first)
  local order = {first}
  for p = 1, 3 do if p ~= first then order[#order + 1] = p end end
  for _, p in ipairs(order) do
    local entry = next_of(PRIORITIES[p])
    while entry do
      local wanted = delivery(PRIORITIES[p], entry)
      if wanted then return wanted end
      entry = next_of(PRIORITIES[p])
    end
  end
  return nil
end

local found = {{}}
local turn = tonumber(redis.call('GET', key('turn')) or 0)
while #found <= capacity do
  local at = turn % #turns + 1
  local wanted = next_delivery(tonumber(string.sub(turns, at, at)))
  if not wanted then break end
  found[#found + 1] = wanted
  turn = turn + 1
end
if #found > 1 then
  redis.call('SET', key('turn'), turn % #turns)
  return found
end
for i, priority in ipairs(PRIORITIES) do  -- all three were tried, so all three exist
  local info = redis.call('XINFO', 'STREAM', key('queue', priority))
  for j = 1, #info, 2 do
    if info[j] == 'last-generated-id' then found[1][i] = info[j + 1] end
  end
end
return found
