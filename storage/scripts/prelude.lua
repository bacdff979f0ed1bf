-- What every script shares; put before each of them when it is loaded.
-- ARGV[1] is the key prefix, the rest is the script's own (from `arg(1)` on). Key names are built
-- here, so this runs on one Redis (with replicas), not on a cluster.
--
--   job:<id>                      hash    the record; see records.py
--   events:<id>                   stream  what happened to it, for SSE
--   line:<priority>:<project>:<model>  zset  jobs that no dispatcher has, by place
--   lines:<priority>:<project>    set     models with a line
--   rota:<priority>               zset    projects with a line, by the turn in which each was last
--                                         served
--   wake                          stream  one entry, written anew when a job joins a line
--   queue:<priority>              stream  jobs that dispatchers have, one consumer group (and those
--                                         that an earlier version queued)
--   delayed                       zset    queued ids that wait out a fault of ours, by its end, ms
--   start_by                      zset    ids that must have started by then, ms
--   paused                        set     models of which no job is started
--   waiting:<priority>            set     queued ids, for counting
--   open:<project>                set     ids not yet terminal, for limits
--   running                       zset    ids by lease end, ms
--   videos:<project>              zset    ids by sequence, for listing
--   analyses:<project>            zset    likewise
--   cursor:<project>:<id>         string  sequence of a deleted id, so that a page can go on
--   idempotency:<project>:<key>   hash    body hash, ids
--   expiring                      zset    terminal ids by expiry, s
--   dead                          stream  jobs that ran out of attempts
--   finished                      stream  ids of ended jobs, for webhooks and metrics
--   video_bytes                   hash    bytes of completed videos and of pictures, by project
--   analysis_bytes                hash    bytes of completed analyses, by project
--   models, model_cards           zset by expiry, ms; hash
--   generation                    string  the newest of which a worker has offered a model
--   offered                       string  when a worker last offered a model, ms

local GROUP = 'dispatchers'
local PRIORITIES = {'high', 'normal', 'low'}

local function arg(n) return ARGV[n + 1] end

local function key(...) return table.concat({ARGV[1], ...}, ':') end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Has a later generation of workers taken over?
local function superseded(generation)
  return tonumber(generation) < tonumber(redis.call('GET', key('generation')) or 0)
end

-- The record as a table, nil if there is none.
local function load_job(id)
  local flat = redis.call('HGETALL', key('job', id))
  if #flat == 0 then return nil end
  local job = {}
  for i = 1, #flat, 2 do job[flat[i]] = flat[i + 1] end
  return job
end

-- The record as it goes to the caller: flat names and values.
local function reply(id) return redis.call('HGETALL', key('job', id)) end

local function terminal(job) return job.status == 'completed' or job.status == 'failed' end

-- Does this claim still own the job? Its lease may be over: nobody else took it yet.
local function holds(job, fence)
  return job and job.status == 'in_progress' and job.fence == fence
end

-- Are the attempts used up, without those that are not held against the job?
local function spent(job, max_attempts)
  return job.attempts - (job.forgiven or 0) >= max_attempts
end

local function append_event(id, kind, data)
  return redis.call('XADD', key('events', id), 'MAXLEN', '~', '10000', '*', 'type', kind, 'data', data)
end

-- Remove the job's entry from its queue, whoever it was delivered to.
local function drop_entry(priority, entry)
  if not entry then return end  -- no dispatcher has the job
  local queue = key('queue', priority)
  redis.pcall('XACK', queue, GROUP, entry)  -- pcall: there may be no group yet
  redis.call('XDEL', queue, entry)
end

-- A new last turn of the rota.
local function next_turn() return redis.call('INCR', key('rota_turn')) end

-- Let a job wait in its project's line, in its old place if it had one.
local function join_line(id, job)
  if not job.place then
    job.model = cjson.decode(job.spec).recipe.generation.model
    job.place = redis.call('INCR', key('place'))
    redis.call('HSET', key('job', id), 'model', job.model, 'place', job.place)
  end
  local rota = key('rota', job.priority)
  redis.call('ZADD', key('line', job.priority, job.project, job.model), job.place, id)
  redis.call('SADD', key('lines', job.priority, job.project), job.model)
  -- as if just served: who comes and goes gains nothing over who stays
  if not redis.call('ZSCORE', rota, job.project) then
    redis.call('ZADD', rota, next_turn(), job.project)
  end
  redis.call('XADD', key('wake'), 'MAXLEN', 1, '*', 'id', id)
end

local function leave_line(id, job)
  if not job.model then return end  -- an earlier version's
  local line, lines = key('line', job.priority, job.project, job.model),
    key('lines', job.priority, job.project)
  if redis.call('ZREM', line, id) == 0 or redis.call('EXISTS', line) == 1 then return end
  redis.call('SREM', lines, job.model)
  if redis.call('EXISTS', lines) == 0 then redis.call('ZREM', key('rota', job.priority), job.project) end
end

-- Back from a dispatcher to the job's place in line: nobody began it.
local function put_back(id, job)
  drop_entry(job.priority, job.entry)
  redis.call('HDEL', key('job', id), 'entry')
  join_line(id, job)
end

-- Put a job into its line, as new; after delay_ms if that is not 0.
local function enqueue(id, delay_ms)
  local record = key('job', id)
  local job = load_job(id)
  drop_entry(job.priority, job.entry)
  leave_line(id, job)  -- a worker may have claimed it from there
  redis.call('HSET', record, 'status', 'queued', 'step', '0')
  redis.call('HDEL', record, 'worker', 'lease_until', 'claim_id', 'entry')
  redis.call('SADD', key('waiting', job.priority), id)
  redis.call('SADD', key('open', job.project), id)
  redis.call('ZREM', key('running'), id)
  append_event(id, 'queued', '{}')
  if delay_ms > 0 then
    redis.call('ZADD', key('delayed'), now_ms() + delay_ms, id)
  else
    join_line(id, job)
  end
end

-- Of the fields of a job that hold JSON: what in them is a number of stored bytes, and where its
-- project's are counted.
local COUNTED = {
  spec = {'picture_bytes', 'video_bytes'},
  result = {'size_bytes', 'video_bytes'},
  analysis = {'size_bytes', 'analysis_bytes'},
}

-- Count what a job's field says in (sign 1) or out (-1) of what its project has stored.
local function count_bytes(project, field, value, sign)
  local bytes, counter = unpack(COUNTED[field] or {})
  local size = counter and value and cjson.decode(value)[bytes]
  if size and redis.call('HINCRBY', key(counter), project, sign * size) == 0 then
    redis.call('HDEL', key(counter), project)
  end
end

-- Write a new job's record and queue it. Listing it is the caller's.
local function create(id, project, spec, priority, retention_s)
  redis.call('HSET', key('job', id), 'spec', spec, 'project', project, 'priority', priority,
    'retention_s', retention_s, 'fence', '0', 'attempts', '0')
  count_bytes(project, 'spec', spec, 1)
  local start_timeout_s = cjson.decode(spec).start_timeout_s
  if start_timeout_s then
    redis.call('ZADD', key('start_by'), now_ms() + 1000 * start_timeout_s, id)
  end
  enqueue(id, 0)
end

-- Out of every queue and counter; the record stays.
local function withdraw(id, job)
  drop_entry(job.priority, job.entry)
  leave_line(id, job)
  redis.call('ZREM', key('delayed'), id)
  redis.call('ZREM', key('start_by'), id)
  redis.call('SREM', key('waiting', job.priority), id)
  redis.call('SREM', key('open', job.project), id)
  redis.call('ZREM', key('running'), id)
end

-- The one way into a terminal state. field, value: 'result', 'map', 'analysis' or 'error', as JSON.
-- retention_s: '' keeps the record until it is deleted. The events go after event_ttl_s.
local function finish(id, job, status, field, value, retention_s, event_ttl_s)
  local now_s = math.floor(now_ms() / 1000)
  withdraw(id, job)
  redis.call('HSET', key('job', id), 'status', status, field, value, 'completed_at', now_s)
  count_bytes(job.project, field, value, 1)
  redis.call('HDEL', key('job', id), 'worker', 'lease_until', 'claim_id')
  if retention_s ~= '' then
    local expires_at = now_s + retention_s
    redis.call('HSET', key('job', id), 'expires_at', expires_at)
    redis.call('ZADD', key('expiring'), expires_at, id)
  end
  local entry = append_event(id, status, field == 'error' and value or '{}')
  redis.call('HSET', key('job', id), 'end_event', entry)  -- known longer than the event is kept
  redis.call('XADD', key('finished'), 'MAXLEN', '~', '100000', '*', 'id', id,
    'project', job.project)
  redis.call('EXPIRE', key('events', id), event_ttl_s)
end

-- Queue a failed job again, as if new.
local function renew_failed(id, job)
  if job.dead_entry then redis.call('XDEL', key('dead'), job.dead_entry) end
  redis.call('ZREM', key('expiring'), id)
  redis.call('HSET', key('job', id), 'attempts', '0')
  redis.call('HDEL', key('job', id), 'error', 'last_error', 'dead_entry', 'cancel_requested',
    'started_at', 'completed_at', 'expires_at', 'end_event', 'faults', 'losses', 'lost_at', 'forgiven',
    'place')
  enqueue(id, 0)
  redis.call('PERSIST', key('events', id))
end

-- Remove a job, its events and its place in every list. A worker that still runs it finds no
-- record at its next heartbeat, and stops.
local function forget(id, job)
  withdraw(id, job)
  for _, list in ipairs({'videos', 'analyses'}) do redis.call('ZREM', key(list, job.project), id) end
  if job.artifact then redis.call('SREM', key('artifact_maps', job.project, job.artifact), id) end
  redis.call('ZREM', key('expiring'), id)
  for field in pairs(COUNTED) do count_bytes(job.project, field, job[field], -1) end
  if job.dead_entry then redis.call('XDEL', key('dead'), job.dead_entry) end
  redis.call('DEL', key('job', id), key('events', id))
end

-- Fail a job that ran out of attempts, and keep its id where a person looks.
local function bury(id, job, error, event_ttl_s)
  finish(id, job, 'failed', 'error', error, job.retention_s, event_ttl_s)
  local entry = redis.call('XADD', key('dead'), 'MAXLEN', '~', '100000', '*', 'id', id, 'error', error)
  redis.call('HSET', key('job', id), 'dead_entry', entry)
end
