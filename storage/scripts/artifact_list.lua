-- One page of a project's artifacts by sequence: project, after ('' from the start), limit, order.
-- Gives {more (0 or 1), summary...}; nothing if `after` is not listed.
local project, after, limit, order = arg(1), arg(2), tonumber(arg(3)), arg(4)
local ascending = order == 'asc'
local from = ascending and '-inf' or '+inf'
if after ~= '' then
  local sequence = redis.call('ZSCORE', key('artifacts', project), after)
  if not sequence then return {} end
  from = '(' .. sequence
end
local ids = redis.call(ascending and 'ZRANGEBYSCORE' or 'ZREVRANGEBYSCORE',
  key('artifacts', project), from, ascending and '+inf' or '-inf', 'LIMIT', 0, limit + 1)
local page = {#ids > limit and 1 or 0}
for i = 1, math.min(#ids, limit) do
  page[i + 1] = redis.call('HGET', key('artifact', project, ids[i]), 'summary')
end
return page
