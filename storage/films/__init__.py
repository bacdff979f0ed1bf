"""Files that users upload, read in a process of their own with little memory and time."""
