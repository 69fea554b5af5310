"""The parts of any web program: server, hardening, cookies, static files and probes."""
