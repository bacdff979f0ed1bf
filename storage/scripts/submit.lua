-- Accept jobs: records, index, queue entries and events, or none of it.
-- project, idempotency key ('' none), body hash, its life in s, the most open jobs that the
-- project may have ('' any), then per job: id, spec, priority, retention_s ('' none),
-- the list that it stands in.
-- Gives {'accepted', job...}, {'mismatch'}, {'full', open jobs} or {'taken', id}. The same ids
-- again are accepted once; without any, what the idempotency key stands for.
local project, idempotency, body_hash, life_s, max_open = arg(1), arg(2), arg(3), arg(4), arg(5)
local first, ids, jobs = 6, {}, {'accepted'}

local known = key('idempotency', project, idempotency)
if idempotency ~= '' then
  local held = redis.call('HMGET', known, 'body_hash', 'ids')
  if held[1] and held[1] ~= body_hash then return {'mismatch'} end
  for id in string.gmatch(held[2] or '', '%S+') do
    local job = reply(id)
    if #job > 0 then jobs[#jobs + 1] = job end  -- it may have been deleted since
  end
  if #jobs > 1 then return jobs end
end

local fresh = 0  -- ids not accepted by an earlier try, whose answer was lost
for i = first, #ARGV - 1, 5 do
  local holder = redis.call('HGET', key('job', arg(i)), 'project')
  if holder and holder ~= project then return {'taken', arg(i)} end
  if not holder then fresh = fresh + 1 end
end
local open = redis.call('SCARD', key('open', project))
if max_open ~= '' and fresh > 0 and open + fresh > tonumber(max_open) then return {'full', open} end

for i = first, #ARGV - 1, 5 do
  local id, spec, priority, retention_s, list = arg(i), arg(i + 1), arg(i + 2), arg(i + 3), arg(i + 4)
  if redis.call('EXISTS', key('job', id)) == 0 then
    local sequence = redis.call('INCR', key('sequence'))
    create(id, project, spec, priority, retention_s)
    redis.call('HSET', key('job', id), 'sequence', sequence)
    redis.call('ZADD', key(list, project), sequence, id)
  end
  ids[#ids + 1] = id
  jobs[#jobs + 1] = reply(id)
end

if idempotency ~= '' and #ids > 0 then
  redis.call('HSET', known, 'body_hash', body_hash, 'ids', table.concat(ids, ' '))
  redis.call('EXPIRE', known, life_s)
end
return jobs
