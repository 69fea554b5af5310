"""Access: the gate, identities, roles, and the transactions of the viewer."""
