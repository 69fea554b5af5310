"""Benchmarks: what the appliance can carry on a real broker and a real Postgres, beside the limits of both.

``python -m benchmarks.run`` is the whole of it (``make bench``); the other modules are its parts, and the processes
it starts (``load``, ``copying``) take a plan on standard input and answer with one line of JSON.
"""
