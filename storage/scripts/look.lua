-- A job as it is now: id. Gives {place in the queue, record}, the place as positions.lua says.
return {position(arg(1)), reply(arg(1))}
