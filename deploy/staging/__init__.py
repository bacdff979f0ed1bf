"""Staging on one host without containers: docker-compose.yml's services as processes."""
