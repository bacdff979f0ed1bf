-- Tell the group that a consumer still holds its entries: consumer, then priority, entry pairs.
-- Gives 1 or 0 for each: 0 if it is no longer its own (reclaimed, or the job is done).
local consumer, held = arg(1), {}
for i = 2, #ARGV - 1, 2 do
  local queue, entry = key('queue', arg(i)), arg(i + 1)
  local pending = redis.pcall('XPENDING', queue, GROUP, entry, entry, 1, consumer)
  local own = not pending.err and #pending > 0
  if own then redis.call('XCLAIM', queue, GROUP, consumer, 0, entry, 'JUSTID') end
  held[#held + 1] = own and 1 or 0
end
return held
