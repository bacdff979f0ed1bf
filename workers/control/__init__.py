"""Runs jobs: takes them from the queue, holds their lease, writes how they ended. No torch."""
