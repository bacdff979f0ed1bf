-- Shared by read.lua and reclaim.lua, loaded between the prelude and them.

-- An XREADGROUP or XAUTOCLAIM entry as {priority, entry, spec}; nil, and acknowledged, if its job
-- is gone or was queued anew since. (The entry of a job that ends goes with it.)
local function delivery(priority, entry)
  local id = entry[2] and entry[2][2]
  local job = id and redis.call('HMGET', key('job', id), 'entry', 'spec')
  if job and job[1] == entry[1] then return {priority, entry[1], job[2]} end
  drop_entry(priority, entry[1])
  return nil
end

local function make_group(priority)
  redis.pcall('XGROUP', 'CREATE', key('queue', priority), GROUP, '0', 'MKSTREAM')
end
