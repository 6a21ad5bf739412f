"""Methods that first find out who is in the minority."""
