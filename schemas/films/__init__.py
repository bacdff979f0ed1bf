"""Films that users upload: the files, and how a model's source is made of one."""
