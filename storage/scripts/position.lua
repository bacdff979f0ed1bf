-- Where jobs are in the queue: id... Gives the place of each, as positions.lua says.
local found = {}
for i = 1, #ARGV - 1 do found[i] = position(arg(i)) end
return found
