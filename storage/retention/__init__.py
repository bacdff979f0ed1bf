"""What may be deleted, when, and how: artifacts and videos."""
