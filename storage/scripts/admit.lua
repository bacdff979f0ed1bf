-- Take one request from a project's allowance, a token bucket: project, default limit a minute
-- (0 none). A limit of the project's own wins. Gives {limit, remaining, wait ms, reset ms};
-- limit 0: there is none. wait > 0: refused, and that long until one more is allowed.
local project, default = arg(1), arg(2)
local limit = tonumber(redis.call('HGET', key('limits', project), 'requests_per_minute') or default)
if limit == 0 then return {0, 0, 0, 0} end

local bucket, now, per_ms = key('rate', project), now_ms(), limit / 60000
local held = redis.call('HMGET', bucket, 'tokens', 'at')
local tokens = limit
if held[1] then
  tokens = math.min(limit, tonumber(held[1]) + math.max(0, now - tonumber(held[2])) * per_ms)
end

local wait = 0
if tokens >= 1 then tokens = tokens - 1 else wait = math.ceil((1 - tokens) / per_ms) end
redis.call('HSET', bucket, 'tokens', tostring(tokens), 'at', now)
redis.call('PEXPIRE', bucket, 60000)
return {limit, math.floor(tokens), wait, math.ceil((limit - tokens) / per_ms)}
