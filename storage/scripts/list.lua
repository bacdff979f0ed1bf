-- One page of a project's jobs by sequence, in time that does not grow with their number.
-- project, after ('' from the start; an id, or '#' and a sequence), limit, order ('asc' or 'desc'),
-- list ('videos', 'analyses'), status and model ('' any), the most jobs to look at where there is
-- one of these.
-- Gives {more (0 or 1), where to go on, job...}, or nothing if `after` was never this project's.
local project, after, limit, order = arg(1), arg(2), tonumber(arg(3)), arg(4)
local list = key(arg(5), project)
local status, model, look_at = arg(6), arg(7), tonumber(arg(8))

local from = order == 'asc' and '-inf' or '+inf'
if after:sub(1, 1) == '#' then
  from = '(' .. after:sub(2)
elseif after ~= '' then
  local sequence = redis.call('ZSCORE', list, after)
    or redis.call('GET', key('cursor', project, after))
  if not sequence then return {} end
  from = '(' .. sequence
end

local function wanted(id)
  if status ~= '' and redis.call('HGET', key('job', id), 'status') ~= status then return false end
  if model == '' then return true end
  local spec = cjson.decode(redis.call('HGET', key('job', id), 'spec'))
  return spec.recipe.generation.model == model
end

local filtered = status ~= '' or model ~= ''
local command = order == 'asc' and 'ZRANGEBYSCORE' or 'ZREVRANGEBYSCORE'
local to = order == 'asc' and '+inf' or '-inf'
local count = filtered and look_at or limit
local ids = redis.call(command, list, from, to, 'LIMIT', 0, count + 1)
local page = {0, ''}
for i, id in ipairs(ids) do
  -- one more than is looked at, or than the page takes: there are more
  if i > count or #page - 2 == limit then
    page[1] = 1
    break
  end
  if not filtered or wanted(id) then page[#page + 1] = reply(id) end
  page[2] = id
end
if page[2] ~= '' then page[2] = '#' .. redis.call('ZSCORE', list, page[2]) end
return page
