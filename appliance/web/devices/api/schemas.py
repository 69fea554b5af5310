"""The types of ``/customer/devices``: its bodies and answers, and how they are made."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.device import DeviceStatus, Event
from appliance.devices.fleet import FleetDevice
from appliance.devices.live.presence import Presence
from appliance.devices.seats.bulk import BulkAnswer
from appliance.devices.seats.imports import ImportOutcome
from appliance.web.devices.actions import ImportResult, IssuedCredential


class DeviceOut(msgspec.Struct, frozen=True, kw_only=True):
    """A device as it is now."""

    tenant_id: str
    device_id: str
    name: str | None
    place: str | None
    tags: tuple[str, ...]
    site_id: str | None
    status: DeviceStatus
    subscription_id: Annotated[
        str | None, msgspec.Meta(description="The subscription of its seat, while it is ACTIVE.")
    ]
    presence: Annotated[Presence | None, msgspec.Meta(description="Only of an ACTIVE device.")]
    interval: Annotated[float | None, msgspec.Meta(description="Seconds between its messages, set by a person.")]
    learned_interval: Annotated[
        float | None, msgspec.Meta(description="Seconds between its messages, learned from them.")
    ]
    rate: Annotated[float | None, msgspec.Meta(description="Messages a second, if it has its own limit.")]
    burst: Annotated[int | None, msgspec.Meta(description="Messages at once, if it has its own limit.")]
    created_at: datetime
    last_ts: Annotated[datetime | None, msgspec.Meta(description="The newest time of its readings.")]
    last_seen_at: Annotated[datetime | None, msgspec.Meta(description="When a message was last accepted.")]
    last_heard_at: Annotated[datetime | None, msgspec.Meta(description="When anything was last received.")]
    refused_at: datetime | None
    refused_reason: str | None
    ts_adjusted_at: Annotated[datetime | None, msgspec.Meta(description="When it last sent an impossible time.")]
    null_metrics: Annotated[int, msgspec.Meta(description="Metrics that it sent as null.")]
    unplaced: Annotated[
        int,
        msgspec.Meta(description="Messages with a part of a position or an impossible one, stored as metrics instead."),
    ]
    latest: Annotated[dict[str, Any], msgspec.Meta(description="Metric to newest value.")]
    own_credential: bool
    switch_at: Annotated[datetime | None, msgspec.Meta(description="When its staged password takes effect.")]
    version: Annotated[datetime, msgspec.Meta(description="Send it with a change: an old one is a conflict.")]


class DevicePage(msgspec.Struct, frozen=True):
    """One page; ``next`` is the cursor of the next, if there is one."""

    items: list[DeviceOut]
    total: int
    next: str | None


class DeviceNew(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new device."""

    device_id: str
    name: str | None = None
    place: str | None = None
    tags: tuple[str, ...] = ()
    site_id: str | None = None
    interval: float | None = None
    subscription_id: Annotated[str | None, msgspec.Meta(description="Default: the preferred subscription.")] = None


class DeviceChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields to change; others keep their values. Only operators set limits."""

    name: str | UnsetType | None = UNSET
    place: str | UnsetType | None = UNSET
    tags: tuple[str, ...] | UnsetType = UNSET
    site_id: str | UnsetType | None = UNSET
    interval: float | UnsetType | None = UNSET
    rate: float | UnsetType | None = UNSET
    burst: int | UnsetType | None = UNSET
    version: datetime | None = None


class DeviceCredential(msgspec.Struct, frozen=True, kw_only=True):
    """Secrets, returned only once. ``broker``: whether the broker has applied them."""

    tenant_id: str
    device_id: str
    username: str
    password: str
    token: str
    staged: Annotated[bool, msgspec.Meta(description="The old password works until the switch.")]
    switch_at: datetime | None
    broker: SyncStatus


class DeviceSeat(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The subscription of the seat; default: the preferred one."""

    subscription_id: str | None = None


class DeviceMove(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The subscription to move to."""

    subscription_id: str


class DeviceDeactivation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whether to revoke the credential as well."""

    revoke_credential: bool = False


class DeviceRotation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the new password takes effect: ``now``, ``at`` a time, or by default at ``/switch``."""

    now: bool = False
    at: datetime | None = None


class DeviceErasure(msgspec.Struct, frozen=True):
    """Whether to keep the readings of the deleted device."""

    history: str = ""


class DeviceSteps(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One step for many devices."""

    devices: list[str]
    step: Event
    subscription_id: str | None = None


class DeviceStepAnswer(msgspec.Struct, frozen=True):
    """The result for one device."""

    device_id: str
    status: DeviceStatus | None
    why_not: str | None


class DeviceImportQuery(msgspec.Struct, frozen=True):
    """How to import."""

    dry_run: bool = False
    credentials: Annotated[bool, msgspec.Meta(description="Give new devices a credential, returned only once.")] = False


class DeviceImportRow(msgspec.Struct, frozen=True):
    """The result for a row of the file."""

    line: int
    device_id: str
    outcome: ImportOutcome
    detail: str
    subscription_id: str | None
    username: str | None = None
    password: str | None = None
    token: str | None = None


class DeviceImport(msgspec.Struct, frozen=True):
    """An import, row by row."""

    dry_run: bool
    rows: list[DeviceImportRow]
    outcomes: dict[str, int]


BrokerAnswer = dict[str, SyncStatus]
"""``{"broker": ...}``: whether the broker has applied the change."""


def shown(member: FleetDevice) -> DeviceOut:
    """Return a device as the API shows it."""
    device = member.device
    return DeviceOut(
        tenant_id=device.tenant_id,
        device_id=device.device_id,
        name=device.name,
        place=device.place,
        tags=device.tags,
        site_id=device.site_id,
        status=device.status,
        subscription_id=device.subscription_id,
        presence=member.presence if device.status is DeviceStatus.ACTIVE else None,
        interval=device.interval,
        learned_interval=member.learned_interval,
        rate=member.limits.rate,
        burst=member.limits.burst,
        created_at=member.created_at,
        last_ts=member.last_ts,
        last_seen_at=member.last_seen_at,
        last_heard_at=member.last_heard_at,
        refused_at=member.refused_at,
        refused_reason=member.refused_reason,
        ts_adjusted_at=member.ts_adjusted_at,
        null_metrics=member.null_metrics,
        unplaced=member.unplaced,
        latest=dict(member.latest),
        own_credential=member.own_credential,
        switch_at=member.switch_at,
        version=member.version,
    )


def secrets_of(created: IssuedCredential) -> DeviceCredential:
    """Return new secrets as the API shows them."""
    issued, credential = created.issued, created.credential
    return DeviceCredential(
        tenant_id=issued.tenant_id,
        device_id=issued.device_id,
        username=issued.username,
        password=issued.password,
        token=issued.token,
        staged=credential.staged_at is not None,
        switch_at=credential.switch_at,
        broker=created.sync_status,
    )


def step_answer(one: BulkAnswer) -> DeviceStepAnswer:
    """Return the result for one of many devices."""
    return DeviceStepAnswer(one.device_id, None if one.device is None else one.device.status, one.why_not)


def import_of(imported: ImportResult, *, dry_run: bool) -> DeviceImport:
    """Return an import as the API shows it."""
    secrets = {issued.device_id: issued for issued in imported.issued}
    rows = []
    for row, line in zip(imported.rows, imported.lines, strict=True):
        issued = secrets.get(line.new.device_id) if line.outcome is ImportOutcome.CREATED else None
        shared = (row.line, line.new.device_id, line.outcome, line.detail, line.subscription_id)
        secret = (None, None, None) if issued is None else (issued.username, issued.password, issued.token)
        rows.append(DeviceImportRow(*shared, *secret))
    outcomes = {outcome.value: sum(row.outcome is outcome for row in rows) for outcome in ImportOutcome}
    return DeviceImport(dry_run, rows, outcomes)
