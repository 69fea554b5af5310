"""The Edge Appliance: one process that takes every MQTT message to exactly one committed place in Postgres.

``docs/architecture.md`` describes the packages and the two main paths through them; ``tests/test_layering.py`` holds as
data who may import whom.
"""

__version__ = "0.1.0"
