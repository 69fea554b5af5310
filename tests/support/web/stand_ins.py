"""Stand-ins for the rest of the appliance behind a dashboard of tests: quiet, in good health, with one person."""

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from appliance.backup.nightly import BackupState
from appliance.broker.refusals import BrokerRefusal
from appliance.clock import SystemClock
from appliance.db.change_context import ChangeContext
from appliance.db.migrations import shipped
from appliance.devices.registry.claims import ClaimOutcome
from appliance.devices.registry.provisioning import ProvisioningRequest
from appliance.diagnostics.process_metrics import ProcessMetrics
from appliance.diagnostics.snapshot import BrokerTerms, Dependency, DiskRoom, ResourceLimit, Snapshot
from appliance.ingest.batch import Verdict
from appliance.metrics import Metrics
from appliance.offboarding.kept_copies import KeptCopy
from appliance.people.role import Role, Theme
from appliance.people.sessions import Visit
from appliance.watchdog.watchdog import EndToEnd, HeartbeatCall
from appliance.web.access.auth import Viewer

INSTANCE = "0123456789ab"
"""The appliance that serves the dashboard."""
MB, GB = 10**6, 10**9
"""Bytes."""


class NoDevices:
    """Ingest for dashboards whose tests send no messages: nobody may speak for any device."""

    token_demanded = True

    async def authentic(self, tenant_id: str, device_id: str, secret: str) -> bool:
        del tenant_id, device_id, secret
        return False

    async def authentic_claim(self, tenant_id: str, secret: str) -> bool:
        del tenant_id, secret
        return False

    async def take(self, topic: str, payloads: Sequence[bytes], hop_count: str | None = None) -> list[Verdict]:
        del hop_count
        raise AssertionError(f"{len(payloads)} messages on {topic}, though nobody was let in")

    def retry_after(self, tenant_id: str, device_id: str, payloads: Sequence[bytes]) -> int:
        del tenant_id, device_id, payloads
        return 1


OPERATOR = Viewer(
    user_id=UUID(int=1),
    email="ops@appliance.example",
    name="Ops",
    role=Role.OPERATOR,
    tenant_id=None,
    zone=None,
    theme=Theme.SYSTEM,
    session_id=UUID(int=2),
    csrf="csrf",
)


class Always:
    """Takes everybody for one person, or for nobody: for dashboards without a database to ask."""

    def __init__(self, viewer: Viewer | None = OPERATOR) -> None:
        self.viewer = viewer

    async def by_session(self, secret: str, visit: Visit, *, touch: bool) -> Viewer | None:
        del secret, visit, touch
        return self.viewer

    async def by_token(self, secret: str) -> Viewer | None:
        del secret
        return None


async def no_claims(request: ProvisioningRequest, by: ChangeContext) -> ClaimOutcome:
    """Nobody gets here: no claim password is right."""
    raise AssertionError(f"{by.actor} claims {request.key}, though nobody was let in")


def backed_up(now: float) -> BackupState:
    """Return nightly backups that go well, but for the disk that they are on."""
    name = "appliance-0123456789ab-20261130T023000Z.age"
    return BackupState(
        folder="/mnt/backups",
        keep=7,
        running=False,
        next_at=now + 9 * 3600,
        last_at=now - 15 * 3600,
        last_error=None,
        good_at=now - 15 * 3600 + 90,
        good_file=name,
        good_bytes=1_234_567_890,
        good_seconds=90.0,
        overdue=False,
        on_data_disk=True,
    )


def quiet_system(clock: SystemClock) -> Snapshot:
    """Return a process without tasks, whose Postgres and broker are well and whose schema is the one it ships."""
    return Snapshot(
        instance=INSTANCE,
        age=lambda: 3600.0,
        tasks=lambda _now: [],
        process=ProcessMetrics(Metrics(), clock, Path.cwd(), queue=lambda: 0, each_second=lambda _now: None),
        room=lambda: DiskRoom("ok", 9 * GB, 32 * GB, MB, MB, MB, 3 * MB, None),
        dependencies=lambda: [
            Dependency("Postgres", embedded=True, version="15", trouble=None, answered_in=0.0004),
            Dependency("Mosquitto", embedded=True, version="2.0.11", trouble=None, connected=3, dropped=0),
        ],
        limits=lambda: [ResourceLimit("Rate buckets", 471, 200_000)],
        broker_terms=BrokerTerms(5, 200_000, 268_435_456, 4096, 262_144, 10_000, 14, 805_306_368),
        flooders=list,
        shared_client_ids=list,
        retention_days=30,
        retention_blocked=lambda: None,
        backups=lambda: backed_up(clock.now()),
        budget=lambda: None,
        schema=lambda: shipped()[-1].version,
        end_to_end=lambda: EndToEnd(24.0, True, (), 60.0, heartbeat=True, called=HeartbeatCall(12.0, True, None)),
        settings={"broker.port": 1883, "database.url": None},
    )


async def no_copies() -> Sequence[KeptCopy]:
    """Keep none."""
    return ()


async def no_bundle() -> bytes:
    """Make a bundle without content."""
    return b"PK"


def no_refusals(_tenant_id: str | None, _device_id: str | None) -> Sequence[BrokerRefusal]:
    """The broker refused nothing."""
    return ()
