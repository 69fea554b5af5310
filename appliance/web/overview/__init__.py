"""The Overview: action items, message rates, refusals, devices and seats."""
