"""What any web program has: the server, hardening, cookies, static files and probes."""
