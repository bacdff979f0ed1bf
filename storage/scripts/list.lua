-- One page of a project's jobs by sequence, in time that does not grow with their number.
-- project, after ('' from the start), limit, order ('asc' or 'desc'), list ('videos', 'analyses').
-- Gives {more (0 or 1), job...}, or nothing if `after` was never this project's.
local project, after, limit, order = arg(1), arg(2), tonumber(arg(3)), arg(4)
local list = key(arg(5), project)

local from = order == 'asc' and '-inf' or '+inf'
if after ~= '' then
  local sequence = redis.call('ZSCORE', list, after)
    or redis.call('GET', key('cursor', project, after))
  if not sequence then return {} end
  from = '(' .. sequence
end

local command = order == 'asc' and 'ZRANGEBYSCORE' or 'ZREVRANGEBYSCORE'
local to = order == 'asc' and '+inf' or '-inf'
local ids = redis.call(command, list, from, to, 'LIMIT', 0, limit + 1)
local page = {#ids > limit and 1 or 0}
for i = 1, math.min(#ids, limit) do page[i + 1] = reply(ids[i]) end
return page
