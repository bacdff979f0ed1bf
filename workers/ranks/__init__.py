"""One video made by several processes: a replica's ranks, each with a part of the tokens."""
