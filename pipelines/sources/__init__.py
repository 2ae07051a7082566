"""Sources of messages, one module per protocol."""
