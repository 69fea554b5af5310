"""Deliveries: what was told to whom and how that went, and dead ones sent again."""
