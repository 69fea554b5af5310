"""Who may do what, and as whom: the gate, identities, roles, and the transactions of whoever asks."""
