"""Two hundred rules for the measurements of the engine: what a careful customer has, most of them at rest."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg

RULES = 200
STATEFUL = 20
"""Of them with a state: durations, counts and hysteresis, and two windows."""
SETTLE_SECONDS = 30.0
POLL_SECONDS = 0.05
ADD = """
INSERT INTO alert_rules (tenant_id, name, severity, kind, parameters, enabled, created_at, updated_at)
SELECT %(tenant)s, 'Rule ' || n, 'medium', r.rule ->> 'kind', r.rule -> 'parameters', false, now(), now()
FROM jsonb_array_elements(%(rules)s::jsonb) WITH ORDINALITY AS r (rule, n)
"""
SWITCH = "UPDATE alert_rules SET enabled = %s, updated_at = now() WHERE built_in IS NULL"


def rules() -> list[dict[str, Any]]:
    """Return kind and parameters of the rules. One reading of temperature in 300 is above the lowest limit:
    about one alert opens, and closes, in a hundred messages."""
    plain = [
        {"metric": metric, "operator": operator, "value": value + step * number}
        for number in range((RULES - STATEFUL) // 3)
        for metric, operator, value, step in (
            ("temperature", "GT", 28.96, 0.05),
            ("humidity", "GT", 75.0, 0.05),
            ("battery", "LT", 3.0, -0.01),
        )
    ]
    found = [{"kind": "threshold", "parameters": parameters} for parameters in plain]
    for number in range((STATEFUL - 2) // 3):
        limit = {"metric": "temperature", "operator": "GT", "value": 28.96 + 0.01 * number}
        found += [
            {"kind": "threshold", "parameters": {**limit, "for_seconds": 60}},
            {"kind": "threshold", "parameters": {**limit, "for_count": 3}},
            {"kind": "threshold", "parameters": {**limit, "clear_value": 28}},
        ]
    for metric, value in (("temperature", 28.0), ("humidity", 74.0)):
        window = {"metric": metric, "operator": "GT", "value": value, "aggregate": "avg", "window_seconds": 300}
        found.append({"kind": "window", "parameters": window})
    return found


class Rules:
    """The rules of one tenant, switched on and off."""

    def __init__(self, conninfo: str, tenant: str, in_force: Any) -> None:
        """``in_force`` returns the number of rules that the appliance judges by, from its metrics."""
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._in_force = in_force
        parameters = {"tenant": tenant, "rules": msgspec.json.encode(rules()).decode()}
        self._connection.execute(ADD, parameters)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Let the rules be in force for a block."""
        self._switch(True)
        try:
            yield
        finally:
            self._switch(False)

    def _switch(self, on: bool) -> None:
        self._connection.execute(SWITCH, [on])
        until = time.monotonic() + SETTLE_SECONDS
        while (self._in_force() >= RULES) != on:
            if time.monotonic() > until:
                raise SystemExit("the appliance did not take over the rules")
            time.sleep(POLL_SECONDS)
