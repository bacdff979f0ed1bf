"""What runs beside the requests: webhooks, event streams, metrics, tracing, periodic tasks."""
