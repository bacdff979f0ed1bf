-- Be done with a delivery: priority, entry, id. Gives 1, or 0 if its job still needs the entry.
local priority, entry, id = arg(1), arg(2), arg(3)
local job = load_job(id)
if job and job.entry == entry and not terminal(job) then return 0 end
drop_entry(priority, entry)
return 1
