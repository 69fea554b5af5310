"""The Overview: what needs attention, what comes in, what is refused, how devices and seats stand."""
