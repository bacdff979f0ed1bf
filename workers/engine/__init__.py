"""The engine of a replica: models, stored attention and generation put together for one job."""
