-- Let go of a capture: project, id, holder. Another's lease is left alone.
local lease = key('capture', arg(1), arg(2))
if redis.call('GET', lease) == arg(3) then redis.call('DEL', lease) end
