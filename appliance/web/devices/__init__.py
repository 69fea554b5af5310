"""Devices: lists, one device, its steps and its credential, for pages and the API."""
