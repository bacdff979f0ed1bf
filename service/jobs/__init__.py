"""From a request to a job, and what may be done with one."""
