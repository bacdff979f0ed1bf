"""A capture on its way into the object store."""
