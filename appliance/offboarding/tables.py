"""The order in which the tables of a tenant are emptied: what refers to another table goes before it.

First what would still do something: deliveries, then alerts and rules, then held messages. The audit goes last.
"""

ORDER = (
    "delivery_attempts",
    "delivery_jobs",
    "integration_routes",
    "integration_health",
    "integrations",
    "alert_events",
    "alert_ends",
    "alert_conditions",
    "fleet_alert",
    "alert_rule_state",
    "alert_rules",
    "message_losses",
    "maintenance_windows",
    "quarantine_replays",
    "quarantine_events",
    "quarantine_totals",
    "device_credentials",
    "device_registry",
    "device_state",
    "telemetry_marks",
    "telemetry",
    "telemetry_hourly",
    "tenant_allowances",
    "renewal_requests",
    "subscription_warnings",
    "subscription_audit",
    "subscription_terms",
    "subscriptions",
    "sites",
    "metrics",
    "sessions",
    "api_tokens",
    "links",
    "known_browsers",
    "api_requests",
    "users",
    "quarantine_counters_minute",
    "ingest_ledger",
    "audit_log",
)
"""A test compares it with the catalogue: a new table has its place here, and its part in the export."""

_PLACES = {name: place for place, name in enumerate(ORDER)}


def place_of(table: str, partition_of: str | None) -> tuple[int, str]:
    """Return the sort key of a table; partitions stand in the place of theirs, unknown tables at the end."""
    return _PLACES.get(partition_of or table, len(ORDER)), table
