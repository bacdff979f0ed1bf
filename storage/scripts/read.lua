-- New entries for a consumer: consumer, capacity, turns, generation. Gives {marks, delivery...}.
-- turns: one digit per turn, the priority (1 high … 3 low) that goes first in it; the others
-- follow where that one is empty. Within a priority, projects take turns: the one that waited
-- longest since it was last served, and of its jobs the first whose model is not paused.
-- Marks, where there is nothing to deliver: the newest id that each queue and the wake-up stream
-- ever had, to wait for a newer one. A generation that another took over from gets nothing.
local consumer, capacity, turns = arg(1), tonumber(arg(2)), arg(3)
local PAGE = 64

local paused = {}
for _, model in ipairs(redis.call('SMEMBERS', key('paused'))) do paused[model] = true end

local function next_entry(priority)
  local command = {'XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT', 1, 'STREAMS',
    key('queue', priority), '>'}
  local got = redis.pcall(unpack(command))
  if got and got.err then
    make_group(priority)
    got = redis.call(unpack(command))
  end
  return got and got[1][2][1]
end

-- The first job in a project's lines; nil if all of its models are paused.
local function first_of(priority, project)
  local first, place
  for _, model in ipairs(redis.call('SMEMBERS', key('lines', priority, project))) do
    local head = not paused[model]
      and redis.call('ZRANGE', key('line', priority, project, model), 0, 0, 'WITHSCORES')
    if head and head[1] and (not first or tonumber(head[2]) < place) then
      first, place = head[1], tonumber(head[2])
    end
  end
  return first
end

-- Take the job whose turn it is out of its line.
local function next_in_line(priority)
  local rota, page = key('rota', priority), 0
  while true do
    local projects = redis.call('ZRANGE', rota, page, page + PAGE - 1)
    for _, project in ipairs(projects) do
      local id = first_of(priority, project)
      if id then
        redis.call('ZADD', rota, next_turn(), project)
        leave_line(id, load_job(id))
        return id
      end
    end
    if #projects < PAGE then return nil end
    page = page + PAGE
  end
end

local function next_of(priority)
  local entry = next_entry(priority)  -- what an earlier version queued
  if entry then return entry end
  local id = next_in_line(priority)
  if not id then return nil end
  redis.call('HSET', key('job', id), 'entry', redis.call('XADD', key('queue', priority), '*', 'id', id))
  return next_entry(priority)
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

for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', now_ms(), 'LIMIT', 0, 100)) do
  redis.call('ZREM', key('delayed'), id)
  join_line(id, load_job(id))
end
local found = {{}}
local turn = tonumber(redis.call('GET', key('turn')) or 0)
while #found <= capacity and not superseded(arg(4)) do
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

local function newest(stream)
  if redis.call('EXISTS', stream) == 0 then return '0' end
  local info = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #info, 2 do
    if info[i] == 'last-generated-id' then return info[i + 1] end
  end
end

for i, priority in ipairs(PRIORITIES) do found[1][i] = newest(key('queue', priority)) end
found[1][4] = newest(key('wake'))
return found
