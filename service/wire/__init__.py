"""What goes over the wire: forms, validation, errors, replies, and OpenAPI."""
