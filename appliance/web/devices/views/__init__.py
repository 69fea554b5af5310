"""The pages of devices: one module a page."""
