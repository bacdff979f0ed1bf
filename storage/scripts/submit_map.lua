-- Accept a map job of an artifact, or join the one that there is: project, artifact, id, spec,
-- priority, retention_s ('' none), the most open jobs that the project may have ('' any), seconds
-- after which a failed one is tried again. Gives {'accepted', job}, {'full', open jobs}, or {'gone'}
-- where the artifact is not listed (any more).
--
--   artifact_maps:<project>:<artifact>  set  ids of its map jobs, which go when it goes
local project, artifact, id, spec, priority = arg(1), arg(2), arg(3), arg(4), arg(5)
local retention_s, max_open, retry_s = arg(6), arg(7), tonumber(arg(8))
if redis.call('EXISTS', key('artifact', project, artifact)) == 0 then return {'gone'} end

local job = load_job(id)
local again = job and job.status == 'failed' and now_ms() / 1000 - job.completed_at >= retry_s
if job and not again then return {'accepted', reply(id)} end
local open = redis.call('SCARD', key('open', project))
if max_open ~= '' and open + 1 > tonumber(max_open) then return {'full', open} end
if again then
  renew_failed(id, job)
else
  create(id, project, spec, priority, retention_s)
  redis.call('HSET', key('job', id), 'artifact', artifact)
  redis.call('SADD', key('artifact_maps', project, artifact), id)
end
return {'accepted', reply(id)}
