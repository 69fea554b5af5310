"""Reports of services for the task tree and the System page, made on request from values that exist anyway."""

from collections.abc import Callable

from appliance.broker.room import RoomWatch
from appliance.broker.session_watch import SessionWatch
from appliance.broker.statistics import BrokerStatistics
from appliance.children.keeper import ChildState, ChildStatus
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import BrokerLimits
from appliance.children.postgres import Postgres
from appliance.config import Config
from appliance.counted import counted
from appliance.db.pool import Pool
from appliance.devices.live.state_book import StateBook
from appliance.devices.registry.cache import Registry
from appliance.diagnostics.health import DatabaseHealth
from appliance.diagnostics.snapshot import BrokerTerms, Dependency, DiskRoom, ResourceLimit
from appliance.disk.levels import levels_of_bytes
from appliance.disk.watch import DiskWatch
from appliance.ingest.admission import MAX_ROUTES, Admission
from appliance.ingest.limits.limiter import Limiter
from appliance.ingest.pipeline import Pipeline
from appliance.mqtt.client import Client
from appliance.mqtt.link import LinkState
from appliance.runtime.tree import Report


def report_child(status: Callable[[], ChildStatus], version: Callable[[], str]) -> Callable[[], Report]:
    """Return a reporter of an embedded Postgres or Mosquitto."""

    def report() -> Report:
        now = status()
        trouble = None if now.state is ChildState.READY else f"is {now.state.value}"
        return Report(
            doing=f"embedded, ready, pid {now.pid}",
            kind=version(),
            restarts=now.restarts,
            trouble=trouble,
            last_error=now.last_error,
        )

    return report


def report_connections(pool: Pool) -> Report:
    """Report the pool; its queue are the tasks that wait for a connection."""
    now = pool.statistics()
    return Report(
        f"{now.in_use} of {counted(now.in_use + now.idle, 'connection')} in use", waiting=now.waiting, room=None
    )


def report_disk(watch: DiskWatch) -> Callable[[], Report]:
    """Return a reporter of the room on the disk of the data folder."""

    def report() -> Report:
        doing = f"{watch.room.free // 1_000_000:,} of {watch.room.total // 1_000_000:,} MB are free"
        return Report(doing, trouble=watch.full)

    return report


def disk_room(watch: DiskWatch) -> DiskRoom:
    """Return the room on the disk as it was at the last look, twice a second."""
    room, reserve, levels = watch.room, watch.reserve, levels_of_bytes(watch.room.total)
    return DiskRoom(
        state=watch.state.name.lower(),
        free=room.free,
        total=room.total,
        reserve=reserve.held_bytes,
        reserve_wanted=levels.reserve,
        full_below=levels.full,
        needed=levels.full_over + levels.reserve,
        cause=watch.full,
    )


def report_database(health: DatabaseHealth) -> Callable[[], Report]:
    """Return a reporter of the check of Postgres."""

    def report() -> Report:
        answered = health.answered_in
        doing = "asks once a second" if answered is None else f"answered in {1000 * answered:.1f} ms"
        return Report(doing, trouble=health.postgres or health.schema)

    return report


def report_neighbours(trouble: Callable[[], str | None]) -> Callable[[], Report]:
    """Return a reporter of the question who else is on an external broker."""

    def report() -> Report:
        return Report(trouble=trouble())

    return report


def report_pipeline(pipeline: Pipeline, received: Callable[[], float], room: int) -> Callable[[], Report]:
    """Return a reporter of admission and writer; their queue are the messages in flight."""

    def report() -> Report:
        in_flight = pipeline.in_flight
        doing = f"checks and commits {counted(in_flight, 'message')}" if in_flight else "waits for messages"
        return Report(doing, count=received(), waiting=in_flight, room=room)

    return report


def report_session(receive_max: int) -> Callable[[Client], Report]:
    """Return a reporter of our session with the broker."""

    def report(client: Client) -> Report:
        now, link, contested = client.statistics(), client.link, client_id_contest(client)
        if link.state is not LinkState.READY:
            return Report(trouble=link.trouble, count=now.received, last_error=contested)
        return Report("receives", count=now.received, waiting=now.waiting, room=receive_max, last_error=contested)

    return report


def client_id_contest(client: Client) -> str | None:
    """Return what to do about another client that used our client id, or None if there was none."""
    times = client.statistics().taken_over
    if not times:
        return None
    often = "once" if times == 1 else f"{times} times"
    return f"another client seems to use our client id, seen {often}: is a copy of the data folder in use elsewhere?"


def report_broker(watch: BrokerStatistics) -> Callable[[], Report]:
    """Return a reporter of the broker's statistics."""

    def report() -> Report:
        if watch.stored is None:
            return Report(
                "waits for the broker's statistics" if watch.refusal is None else "shows no statistics",
                last_error=watch.refusal,
            )
        waiting = counted(watch.waiting or 0, "message waits", "messages wait")
        return Report(f"{watch.connected or 0} connected, {waiting}")

    return report


def dependencies(
    database: DatabaseHealth,
    postgres: Postgres | None,
    broker: Mosquitto | None,
    client: Client,
    watch: BrokerStatistics,
    room: RoomWatch,
    session: SessionWatch | None,
) -> list[Dependency]:
    """Return the status of Postgres and Mosquitto, embedded or external; ``session`` watches an external broker."""
    server = None if postgres is None else postgres.status
    kept = None if broker is None else broker.status
    return [
        Dependency(
            "Postgres",
            embedded=server is not None,
            version=None if postgres is None else str(postgres.programs.major),
            trouble=database.postgres or database.schema,
            restarts=0 if server is None else server.restarts,
            started_at=None if server is None else server.started_at,
            last_error=None if server is None else server.last_error,
            answered_in=database.answered_in,
        ),
        Dependency(
            "Mosquitto" if broker is not None else "Broker",
            embedded=kept is not None,
            version=watch.version if broker is None else broker.program.version_text,
            trouble=_trouble_of_broker(broker, client, session),
            restarts=0 if kept is None else kept.restarts,
            started_at=None if kept is None else kept.started_at,
            last_error=(None if kept is None else kept.last_error) or client_id_contest(client),
            connected=watch.connected,
            dropped=watch.dropped,
            room=room.room,
        ),
    ]


def _trouble_of_broker(broker: Mosquitto | None, client: Client, session: SessionWatch | None) -> str | None:
    if (away := client.link.trouble) is not None:
        return away
    if session is not None:
        return session.trouble
    if broker is None or broker.unsaved is None:
        return None
    return f"cannot save its queue ({broker.unsaved}): a stop of the broker loses what waits in it"


def resource_limits(
    config: Config,
    limiter: Limiter,
    registry: Registry,
    states: StateBook,
    admission: Admission,
    client: Client,
    pipeline: Pipeline,
) -> list[ResourceLimit]:
    """Return what is kept in memory for each device, tenant or message, with its limit (P10)."""
    devices, window = config.limits.max_tracked_devices, config.ingest.receive_max
    return [
        ResourceLimit("Rate buckets", limiter.tracked, devices),
        ResourceLimit("Registry cache", len(registry), devices),
        ResourceLimit("Device states", len(states), devices),
        ResourceLimit("Topics remembered", admission.routes, MAX_ROUTES),
        ResourceLimit("Messages received, not yet processed", client.statistics().waiting, window),
        ResourceLimit("Messages in flight", pipeline.in_flight, window),
    ]


def broker_terms(broker: Mosquitto, limits: BrokerLimits) -> BrokerTerms:
    """Return what the embedded broker's settings promise to a device."""
    return BrokerTerms(
        saves_every=None if broker.program.persist_sqlite is not None else limits.autosave_seconds,
        queued_messages=limits.max_queued_messages,
        queued_bytes=limits.max_queued_bytes,
        inflight_messages=limits.max_inflight_messages,
        message_bytes=limits.max_message_bytes,
        connections=limits.max_connections,
        session_days=limits.session_days,
        memory_bytes=limits.memory_bytes,
    )
