"""What runs beside the requests: periodic tasks, webhooks, events, metrics, tracing."""
