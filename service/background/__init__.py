"""What runs beside the requests: chores, webhooks, events, metrics, tracing."""
