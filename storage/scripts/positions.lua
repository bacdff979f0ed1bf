-- Shared by position.lua and look.lua, loaded between the prelude and them.

-- Where a job is in the queue: how many of its priority are ahead of it, as projects take turns,
-- plus 1; 0 for one that is not queued.
-- (What is ahead: those that dispatchers have; of its own project all before it; of another as many
-- as that gets turns before it.)
local function count(project, priority, place)
  local found = 0
  for _, model in ipairs(redis.call('SMEMBERS', key('lines', priority, project))) do
    found = found + redis.call('ZCOUNT', key('line', priority, project, model), '-inf', place)
  end
  return found
end

local known = {}

-- Of a priority: its projects in the order of their next turns, how many jobs each has in line, and
-- how many are in none, because dispatchers have them.
local function lines_of(priority)
  local lines = known[priority]
  if not lines then
    lines = {projects = redis.call('ZRANGE', key('rota', priority), 0, -1), waiting = {}}
    local in_line = 0
    for i, project in ipairs(lines.projects) do
      lines.waiting[i] = count(project, priority, '+inf')
      in_line = in_line + lines.waiting[i]
    end
    lines.held = math.max(0, redis.call('SCARD', key('waiting', priority)) - in_line)
    known[priority] = lines
  end
  return lines
end

local function position(id)
  local job = redis.call('HMGET', key('job', id), 'status', 'priority', 'project', 'place', 'entry')
  local status, priority, project, place, entry = unpack(job)
  if status ~= 'queued' then return 0 end
  if entry or not place then return 1 end
  local lines, own = lines_of(priority), count(project, priority, '(' .. place)
  local ahead, turns = own, own + 1  -- another project's turns before this job's
  for i, other in ipairs(lines.projects) do
    if other == project then
      turns = own  -- the next ones are served later in each round
    else
      ahead = ahead + math.min(lines.waiting[i], turns)
    end
  end
  return 1 + lines.held + ahead
end
