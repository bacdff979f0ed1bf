"""Jobs in Redis: their records, queue, claims, events and maintenance."""
