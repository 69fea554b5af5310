"""Rows of silent devices: what is asked of them, and the alerts that open, close and are released."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from appliance.alerts.silence.device import OpenSilence, QuietDevice
from appliance.alerts.silence.judgement import Newest, Opening
from appliance.alerts.silence.rules import RulesOfTenants, shortest
from appliance.db import statements
from appliance.db.locks import lock_key
from appliance.db.trio_psycopg import Connection
from appliance.devices.live.presence import Presence

SLICE_DEVICES = 256
"""Devices that are judged in one transaction: some milliseconds."""
LOCK_WAIT = "500ms"
"""How long a slice waits for the row of a rule or a device that a person is changing."""

DeviceKey = tuple[str, str]
"""(tenant_id, device_id)"""
BEYOND: DeviceKey = (chr(0x10FFFF), "")
"""After every device."""

STATEMENTS = statements.load("alert_silence")

_encode = msgspec.json.Encoder().encode


async def list_slices(connection: Connection[Any]) -> list[DeviceKey]:
    """Return the first key of each slice of ACTIVE devices, in order."""
    cursor = await connection.execute(STATEMENTS["list_slices"], {"size": SLICE_DEVICES})
    return [(tenant_id, device_id) for tenant_id, device_id in await cursor.fetchall()]


async def lock_slice(connection: Connection[Any], first: DeviceKey) -> bool:
    """Return whether the slice is ours until the transaction ends; if not, another appliance works on it."""
    parameters = {"wait": LOCK_WAIT, "key": lock_key("silence", *first)}
    row = await (await connection.execute(STATEMENTS["lock_slice"], parameters)).fetchone()
    return row is not None and bool(row[1])


async def list_quiet_devices(
    connection: Connection[Any], first: DeviceKey, until: DeviceKey | None, rules: RulesOfTenants, now: datetime
) -> list[QuietDevice]:
    """Return the devices of a slice that one of ``rules`` may call silent, or of which such an alert is open.

    ``until`` is the first device of the next slice, None for the last one.
    """
    until_tenant, until_device = until or BEYOND
    bounds = {"tenant": first[0], "device": first[1], "until_tenant": until_tenant, "until_device": until_device}
    alerts = await _open_silences(connection, bounds, now)
    asked = {tenant_id: shortest(of_tenant) for tenant_id, of_tenant in rules.items()}
    devices = [(tenant, seconds[None]) for tenant, seconds in asked.items() if None in seconds]
    metrics = [(tenant, name, least) for tenant, seconds in asked.items() for name, least in seconds.items() if name]
    parameters = {
        **bounds,
        "tenants": [tenant for tenant, _ in devices],
        "least": [least for _, least in devices],
        "metric_tenants": [tenant for tenant, _, _ in metrics],
        "metrics": [name for _, name, _ in metrics],
        "metric_least": [least for _, _, least in metrics],
        "alerted": ["/".join(key) for key in alerts],
    }
    cursor = await connection.execute(STATEMENTS["list_quiet_devices"], parameters)
    return [_device(row, alerts) for row in await cursor.fetchall()]


async def _open_silences(
    connection: Connection[Any], bounds: dict[str, str], now: datetime
) -> dict[DeviceKey, list[OpenSilence]]:
    cursor = await connection.execute(STATEMENTS["list_open_silences"], bounds)
    alerts = await cursor.fetchall()
    named = {inhibited_by for *_, inhibited_by in alerts if inhibited_by is not None}
    freed: set[int] = set()
    if named:
        cursor = await connection.execute(STATEMENTS["list_inhibiting"], {"alerts": sorted(named), "now": now})
        freed = named - {alert_id for (alert_id,) in await cursor.fetchall()}
    found: dict[DeviceKey, list[OpenSilence]] = {}
    for tenant_id, device_id, alert_id, rule_id, started_at, inhibited_by in alerts:
        alert = OpenSilence(alert_id, rule_id, started_at, inhibited_by in freed)
        found.setdefault((tenant_id, device_id), []).append(alert)
    return found


def _device(row: tuple[Any, ...], alerts: Mapping[DeviceKey, Sequence[OpenSilence]]) -> QuietDevice:
    facts = list(row)
    facts[6] = Presence(facts[6])
    return QuietDevice(*[*facts, alerts.get((row[0], row[1]), ())])


async def newest_alerts(connection: Connection[Any], openings: Collection[Opening]) -> Mapping[DeviceKey, Newest]:
    """Return the newest alert of the same rule and device, by tenant and fingerprint."""
    parameters = {
        "tenants": [opening.rule.tenant_id for opening in openings],
        "fingerprints": [opening.fingerprint for opening in openings],
    }
    cursor = await connection.execute(STATEMENTS["list_newest"], parameters)
    return {(tenant_id, fingerprint): Newest(*row) for tenant_id, fingerprint, *row in await cursor.fetchall()}


async def open_alerts(
    connection: Connection[Any], openings: Sequence[tuple[Opening, int | None]], now: datetime
) -> None:
    """Open alerts, each with the id of the alert that stands for it, or None.

    Nothing is opened for a rule that is not in force in the version that was judged, or a device that is not ACTIVE.
    """
    if openings:
        await connection.execute(
            STATEMENTS["open_silences"],
            {
                "tenants": [opening.rule.tenant_id for opening, _ in openings],
                "devices": [opening.device.device_id for opening, _ in openings],
                "rules": [opening.rule.rule_id for opening, _ in openings],
                "versions": [opening.rule.version for opening, _ in openings],
                "types": [opening.rule.alert_type.value for opening, _ in openings],
                "fingerprints": [opening.fingerprint for opening, _ in openings],
                "summaries": [opening.summary for opening, _ in openings],
                "details": [_encode(opening.details).decode() for opening, _ in openings],
                "started": [opening.silence.since for opening, _ in openings],
                "inhibited": [inhibited_by for _, inhibited_by in openings],
                "now": now,
            },
        )


async def close_alerts(connection: Connection[Any], alerts: Sequence[int], now: datetime) -> None:
    """Close alerts whose device is back."""
    if alerts:
        await connection.execute(STATEMENTS["close_silences"], {"alerts": list(alerts), "now": now})


async def release_alerts(connection: Connection[Any], alerts: Iterable[int], now: datetime) -> None:
    """Let alerts stand for themselves: their notices are due now."""
    if freed := list(alerts):
        await connection.execute(STATEMENTS["release_silences"], {"alerts": freed, "now": now})
