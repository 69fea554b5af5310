"""An appliance whose clock can be set, and what must hold of it whatever that shows."""

import contextlib
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import trio
from mqtt5 import QoS

from tests.support.appliance_process import ApplianceProcess, SetUp
from tests.support.own_tls import client_context, fingerprint_of, handshake
from tests.support.publisher import TENANT, client
from tests.support.wrong_clock import DAY, WrongClock

PATIENCE = 60.0
"""Bounds a test that fails; a doubt begins at once and ends within a second or two."""
PRESENCE = """
SELECT DISTINCT presence_of(s, d.interval_seconds, w)
FROM device_registry AS d LEFT JOIN device_state AS s USING (tenant_id, device_id)
JOIN presence_watch AS w ON w.instance = coalesce(s.heard_by, '')
WHERE tenant_id = 'fleet'
"""
HELD = """
INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, payload)
VALUES (now() - interval '6 days', 'tenant/fleet/device/full/telemetry', 'fleet', 'full', 'telemetry',
  'NO_SUBSCRIPTION_CAPACITY', '{}')
"""
FUTURE = """
SELECT 'state ' || device_id FROM device_state
WHERE greatest(last_ts, last_seen_at, last_heard_at) > to_timestamp(%s)
UNION ALL SELECT 'listening' FROM listening WHERE ended_at > to_timestamp(%s)
UNION ALL SELECT 'held' FROM quarantine_events WHERE ingested_at > to_timestamp(%s)
UNION ALL SELECT 'session' FROM sessions WHERE seen_at > to_timestamp(%s) OR expires_at > now() + interval '31 days'
UNION ALL SELECT 'instance' FROM ingest_instances WHERE state_written_at > to_timestamp(%s)
"""
"""What lies after a time: a minute from now, told five times."""


ENDING = """
WITH made AS (
  INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (to_timestamp(%s), to_timestamp(%s), 'ending'))
INSERT INTO subscriptions
  (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start, term_end, status)
VALUES (to_timestamp(%s), 'ending', 'SUB-1', 'TEMPORARY', 1, to_timestamp(%s), to_timestamp(%s), 'ACTIVE')
RETURNING 1
"""
ENDS_AT = "UPDATE subscriptions SET term_end = to_timestamp(%s) WHERE tenant_id = 'ending' RETURNING 1"
WARNINGS = (
    "SELECT (details ->> 'days')::int, status, close_reason FROM fleet_alert WHERE tenant_id = 'ending' ORDER BY id"
)
STATUS_EVENTS = """
SELECT subscription_id, new_state FROM subscription_audit
WHERE event_type = 'status' AND tenant_id IN ('fleet', 'ending')
"""


@dataclass
class Box:
    """An appliance with a clock that can be set, a tenant, an operator, and something that is held."""

    appliance: ApplianceProcess
    clock: WrongClock
    operator: SetUp | None = None
    sent: dict[tuple[str, int], int] = field(default_factory=dict)
    """Device and number -> the time that the message carries in seconds, 0 for none, negative for one that is not
    taken."""
    events: list[tuple[Any, ...]] = field(default_factory=list)
    """What became of subscriptions by a clock that was trusted."""
    authorities: set[str] = field(default_factory=set)
    certificates: list[str] = field(default_factory=list)
    """Fingerprints of what devices have accepted."""

    def furnish(self) -> None:
        """Sell seats, sign an operator in, and hold a message."""
        self.appliance.tenant(TENANT)
        self.operator = self.appliance.set_up()
        self.appliance.query(f"{HELD} RETURNING id")

    def sell_ending(self, days: float) -> None:
        """Sell another tenant a subscription that ends in so many days by the right time; its warning follows."""
        now = time.time()
        self.appliance.query(ENDING, now, now, now, now - 300 * DAY, now + days * DAY)

    def end_in(self, days: float) -> None:
        """Let that subscription end in so many days by the right time."""
        self.appliance.query(ENDS_AT, time.time() + days * DAY)

    def warnings(self) -> list[tuple[int, str, str | None]]:
        """Return the steps before that end which were warned of, and where their alerts stand."""
        return [(days, status, reason) for days, status, reason in self.appliance.query(WARNINGS)]

    def send(self, device: str, *, timed: int = 5, plain: int = 5, carried: bool = True) -> None:
        """Send messages with the right time and without one; the broker has acknowledged them when this returns.

        ``carried``: whether the right time counts.
        """
        trio.run(self._send, device, timed, plain, carried)

    async def _send(self, device: str, timed: int, plain: int, carried: bool) -> None:
        messages: list[tuple[str, bytes]] = []
        for number in range(len(self.sent), len(self.sent) + timed + plain):
            ts = int(time.time()) if len(messages) < timed else 0
            self.sent[device, number] = ts if carried else -ts
            payload = {"number": number, **({"ts": ts} if ts else {})}
            messages.append((f"tenant/{TENANT}/device/{device}/telemetry", json.dumps(payload).encode()))
        async with client(self.appliance, "sender") as connection:
            await connection.publish_many(messages, qos=QoS.AT_LEAST_ONCE)

    def stored(self) -> list[tuple[str, int, int, bool]]:
        """Device, number, time if the message carried it, and whether one that is not late came late."""
        rows = self.appliance.query(
            "SELECT device_id, (metrics ->> 'number')::int, extract(epoch FROM ts)::int, ts_adjusted, late,"
            " ts = received_at FROM telemetry WHERE tenant_id = 'fleet' ORDER BY 2"
        )
        return [(device, number, ts, adjusted) for device, number, ts, adjusted, _, _ in rows]

    def all_stored(self) -> None:
        """Check that each message was stored once, with the time it carries."""
        wait_for(lambda: len(self.stored()) >= len(self.sent))
        rows = self.stored()
        assert [(device, number) for device, number, *_ in rows] == list(self.sent), "each once"
        wrong = []
        for device, number, ts, adjusted in rows:
            given = self.sent[device, number]
            if adjusted is not (given < 0) or (given > 0 and given != ts):
                wrong.append((device, number, ts, adjusted))
        assert wrong == [], "a right time was not taken for one"

    def newest_is_not_late(self, device: str) -> None:
        """Check that the last message of a device, without a time of its own, is its newest."""
        [(late,)] = self.appliance.query(
            "SELECT late FROM telemetry WHERE device_id = %s ORDER BY (metrics ->> 'number')::int DESC LIMIT 1", device
        )
        assert late is False

    def trusts(self) -> bool:
        """Return whether the appliance trusts the clock."""
        return b"\nappliance_clock_trusted 1.0" in self.appliance.get("/metrics")

    def certificate_is_accepted(self) -> None:
        """Check that a device with a right clock accepts the certificate of the broker, by an authority that stays."""
        pem = (self.appliance.data_dir / "tls" / "ca.pem").read_bytes()
        self.authorities.add(fingerprint_of(pem))
        assert len(self.authorities) == 1, "devices need not trust another authority"
        context = client_context(self.appliance.data_dir / "tls" / "ca.pem")

        def accepted() -> bool:
            """Return whether the handshake succeeds, which after a doubt is when the broker has read the new one."""
            with contextlib.suppress(ssl.SSLCertVerificationError):
                self.certificates.append(handshake(context, "127.0.0.1", self.appliance.run["mqtt_tls_port"]))
                return True
            return False

        wait_for(accepted)

    def is_well(self) -> None:
        """Check that nothing was dropped, has expired, or is called silent, and that the operator is signed in."""
        self.certificate_is_accepted()
        assert self.appliance.query("SELECT count(*) FROM quarantine_events WHERE status = 'HELD'") == [(1,)]
        assert self.appliance.query("SELECT count(*) FROM ingest_ledger WHERE evicted + partition_dropped > 0") == [
            (0,)
        ]
        self.serves()

    def serves(self) -> None:
        """Check that no term has ended, no device is called silent, and that the operator is signed in."""
        assert self.operator is not None
        query = self.appliance.query
        assert query("SELECT status, term_end > term_start FROM subscriptions WHERE tenant_id = 'fleet'") == [
            ("ACTIVE", True)
        ]
        assert query(STATUS_EVENTS) == self.events, "nothing has ended by time"
        assert query("SELECT count(*) FROM ingest_ledger WHERE refused > 0") == [(0,)]
        wait_for(lambda: query(PRESENCE) == [("ONLINE",)])
        page = httpx.get(f"{self.appliance.run['web_url']}/system", cookies=self.operator.cookies)
        assert page.status_code == 200, "the operator is signed in"

    def takes_in_new_ends(self) -> None:
        """Wait until statuses follow the ends that were moved; what was recorded before counts as right."""
        status = "SELECT status FROM subscriptions WHERE tenant_id = 'fleet'"
        wait_for(lambda: self.appliance.query(status) == [("ACTIVE",)])
        self.events = self.appliance.query(STATUS_EVENTS)

    def all_past(self) -> bool:
        """Return whether nothing that is shown or decided by lies in the future."""
        return self.appliance.query(FUTURE, *[time.time() + 60] * 5) == []

    def times_are_past(self) -> None:
        """Check that nothing that is shown or decided by lies in the future."""
        assert self.appliance.query(FUTURE, *[time.time() + 60] * 5) == []


def wait_for(holds: Callable[[], bool]) -> None:
    """Return once it holds; fails when it does not in time."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.1)


def open_box(appliance: ApplianceProcess) -> Box:
    """Return an appliance that is not started yet, with a right clock."""
    clock = WrongClock(appliance.folder / "clock")
    appliance.settings |= {**clock.settings(), "APPLIANCE_BROKER_TLS_PORT": "0"}
    return Box(appliance, clock)
