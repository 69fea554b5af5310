"""The Edge Appliance: one process that takes every MQTT message to exactly one committed place in Postgres.

Packages, lowest first (a row imports rows above it only; ``tests/test_layering.py`` holds the table as data):

* leaves - ``config errors metrics backoff reading clock``
* adapters - ``children``, ``mqtt``, ``db``, which never import one another
* domain - ``subscriptions``, ``devices``, ``ingest``
* ``web``
* top - ``supervisor``, ``cli``
"""

__version__ = "0.1.0"
