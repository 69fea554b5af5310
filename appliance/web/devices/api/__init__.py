"""``/customer/devices`` and what is below it."""
