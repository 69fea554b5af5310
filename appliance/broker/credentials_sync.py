"""Keeps the embedded broker's files equal to the credentials in the database.

Enters: notifications of changes, who is shut out, requests for debug logging. Leaves: rewritten files, a reload, and
a record in the database that the broker applies them. Many changes make one reload, at most one a second; a change
reaches the broker within two seconds. Staged passwords that are due are switched to here.

With an external broker none of this runs: we do not manage its users.
"""

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import psycopg
import structlog
import trio
from psycopg import Notify

from appliance.broker.shut_out import ShutOut
from appliance.children.mosquitto import Mosquitto
from appliance.children.mosquitto_files import Users
from appliance.clock import Clock
from appliance.db.changes import Connect, listen
from appliance.db.pool import Pool
from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials import broker_sync, credential
from appliance.devices.credentials.broker_sync import BrokerCredentials
from appliance.runtime.activity import activity

log = structlog.get_logger(__name__)

MIN_RELOAD_SECONDS = 1.0
"""Seconds between the beginnings of two reloads."""
RETRY_SECONDS = 0.5
FAR = 3600.0
"""Seconds after which the database is read again without a notification."""

Ready = Callable[[], Awaitable[object]]
"""Returns while the session is connected, waits while it is not."""


def users_of(copy: BrokerCredentials) -> Users:
    """Return credentials as the broker's files hold them."""
    return Users(copy.passwords, copy.claims)


async def read_users(pool: Pool) -> Users:
    """Return all users who may connect now, for the files that the broker starts with."""
    async with pool.connection() as connection:
        return users_of(await broker_sync.read(connection))


class CredentialsSync:
    """Writes the embedded broker's files while it runs."""

    def __init__(
        self,
        mosquitto: Mosquitto,
        users: Users,
        pool: Pool,
        connect: Connect,
        clock: Clock,
        instance: str,
        shut_out: ShutOut,
        *,
        debug_logging: bool,
        min_interval: float = MIN_RELOAD_SECONDS,
    ) -> None:
        """``users`` and ``debug_logging`` are what the broker was started with; ``connect`` opens a new connection
        as ``appliance_ingest``."""
        self._mosquitto = mosquitto
        self._pool = pool
        self._connect_anew = connect
        self._clock = clock
        self._instance = instance
        self._lock_key = secrets.randbits(63)
        self._known = users
        self._debug_logging = debug_logging
        self._debug_logging_wanted = debug_logging
        self._woken = trio.Event()
        self._min_interval = min_interval
        self._last_reload = -min_interval
        self._shut_out = shut_out
        shut_out.on_change(self._wake)

    def request_debug_logging(self, wanted: bool) -> None:
        """Turn the broker's debug logging on or off: several lines a message."""
        if wanted is not self._debug_logging_wanted:
            self._debug_logging_wanted = wanted
            self._wake()

    async def run(self, session_ready: Ready, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the database until cancelled; started once the broker applies what was there when listening began.

        ``session_ready`` returns while the appliance's session is connected: without it the broker must not be made
        to reload (:mod:`appliance.children.mosquitto_reload`).
        """
        async with trio.open_nursery() as nursery:
            # A connection of its own, not one of db.changes: it holds the lock by which others know that this broker is
            # served, and so the lock is gone exactly when changes are no longer received.
            await nursery.start(listen, self._connect, [broker_sync.BROKER_CHANNEL], self._on_notification, self._wake)
            announce: Callable[[], None] = task_status.started
            while True:
                self._woken = trio.Event()
                try:
                    pause = await self._follow(session_ready)
                    activity().did()
                except (psycopg.OperationalError, OSError) as trouble:  # Postgres is away, the disk is full
                    activity().failed(trouble)
                    log.warning("the broker's users wait", error=str(trouble).strip())
                    await trio.sleep(RETRY_SECONDS)
                    continue
                announce()
                announce = _nothing
                activity().doing("waits for a change of users")
                with trio.move_on_after(pause):
                    await self._woken.wait()

    async def _follow(self, session_ready: Ready) -> float:
        """Bring the broker up to date; return the seconds after which it is due again without being woken."""
        # Before the database is read, so that what changes meanwhile comes along.
        await trio.sleep(max(0.0, self._last_reload + self._min_interval - trio.current_time()))
        async with self._pool.connection() as connection:
            await credential.switch_due(connection, self._settled())
            copy = await broker_sync.read(connection)
        users, debug_logging = users_of(copy).without(self._shut_out.users()), self._debug_logging_wanted
        if users != self._known or debug_logging is not self._debug_logging:
            await self._bring(session_ready, users, debug_logging)
        async with self._pool.connection() as connection:
            await broker_sync.record(connection, self._instance, self._lock_key, copy, now=self._now())
        return self._pause(copy.next_switch)

    def _pause(self, next_switch: datetime | None) -> float:
        """Return the seconds until a staged password is due, or somebody who is shut out is let in again."""
        let_in = self._shut_out.seconds_until_change()
        due = FAR if next_switch is None else (next_switch - self._settled()).total_seconds()
        return min(max(due, 0.0), FAR if let_in is None else let_in, FAR)

    async def _bring(self, session_ready: Ready, users: Users, debug_logging: bool) -> None:
        began = trio.current_time()
        await self._mosquitto.write(users=users, debug_logging=debug_logging)
        await session_ready()
        self._last_reload = trio.current_time()
        while not await self._mosquitto.reload():  # it ended: its successor reads the files
            await trio.sleep(RETRY_SECONDS)
            await session_ready()
        self._known, self._debug_logging = users, debug_logging
        log.info("broker reloaded", users=users.passwords.count("\n"), seconds=round(trio.current_time() - began, 3))

    async def _connect(self) -> Connection[tuple[object, ...]]:
        connection = await self._connect_anew()
        try:
            await broker_sync.hold_lock(connection, self._lock_key)
        except BaseException:
            connection.abandon()
            raise
        return connection

    def _on_notification(self, notification: Notify) -> None:  # noqa: ARG002 - everything is read again
        self._wake()

    def _wake(self) -> None:
        self._woken.set()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)

    def _settled(self) -> datetime:
        """Return the time by which passwords end."""
        return datetime.fromtimestamp(self._clock.settled(), UTC)


def _nothing() -> None:
    """Do nothing: the start was announced before."""
