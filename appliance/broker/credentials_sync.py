"""Keeps the embedded broker's files equal to the credentials in the database.

Enters: notifications of changes, the door's wish to hear more. Leaves: rewritten files, a reload, and the word that the
broker knows them. Many changes make one reload, and there is at most one a second; between a change and the broker's
knowing it pass two seconds at the worst. Staged passwords whose time has come are switched to here.

With an external broker none of this runs: its users are not managed by us.
"""

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import psycopg
import structlog
import trio
from psycopg import Notify

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
"""Seconds after which the database is read again though nothing was told."""

Ready = Callable[[], Awaitable[object]]
"""Returns while something is there, waits while it is not."""


def users_of(copy: BrokerCredentials) -> Users:
    """As the broker's files have them."""
    return Users(copy.passwords, copy.denials)


async def read_users(pool: Pool) -> Users:
    """Everybody who may connect now: for the files that the broker starts with."""
    async with pool.connection() as connection:
        return users_of(await broker_sync.read(connection))


class CredentialsSync:
    """The one who writes the embedded broker's files while it runs."""

    def __init__(
        self,
        mosquitto: Mosquitto,
        users: Users,
        pool: Pool,
        connect: Connect,
        clock: Clock,
        instance: str,
        *,
        debug_logging: bool,
        min_interval: float = MIN_RELOAD_SECONDS,
    ) -> None:
        """``users`` and ``talkative`` are what the broker was started with; ``connect`` opens a connection of our own
        as ``appliance_ingest``."""
        self._mosquitto = mosquitto
        self._pool = pool
        self._connect_anew = connect
        self._clock = clock
        self._instance = instance
        self._lock_key = secrets.randbits(63)
        self._known = users
        self._talks = debug_logging
        self._talk_wanted = debug_logging
        self._woken = trio.Event()
        self._min_interval = min_interval
        self._last_reload = -min_interval

    def talk(self, wanted: bool) -> None:
        """Have the broker say several lines a message, or not any more."""
        if wanted is not self._talk_wanted:
            self._talk_wanted = wanted
            self._wake()

    async def run(self, session_ready: Ready, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the database until cancelled; starts once the broker knows what was there when we began to listen.

        ``session_ready`` returns while the appliance's session is connected: without it the broker must not be made
        to reload (:mod:`appliance.children.mosquitto_reload`).
        """
        async with trio.open_nursery() as nursery:
            # A connection of its own, not one of db.changes: it holds the lock by which others know that this broker is
            # served, and so the lock is gone exactly when changes are no longer heard.
            await nursery.start(listen, self._connect, [broker_sync.BROKER_CHANNEL], self._told, self._wake)
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
        """Bring the broker up to date; the seconds until something is due by itself."""
        # Before the database is read, so that what changes meanwhile comes along.
        await trio.sleep(max(0.0, self._last_reload + self._min_interval - trio.current_time()))
        async with self._pool.connection() as connection:
            await credential.switch_due(connection, self._now())
            copy = await broker_sync.read(connection)
        users, debug_logging = users_of(copy), self._talk_wanted
        if users != self._known or debug_logging is not self._talks:
            await self._bring(session_ready, users, debug_logging)
        async with self._pool.connection() as connection:
            await broker_sync.record(connection, self._instance, self._lock_key, copy)
        if copy.next_switch is None:
            return FAR
        return min(max((copy.next_switch - self._now()).total_seconds(), 0.0), FAR)

    async def _bring(self, session_ready: Ready, users: Users, debug_logging: bool) -> None:
        began = trio.current_time()
        await self._mosquitto.write(users=users, debug_logging=debug_logging)
        await session_ready()
        self._last_reload = trio.current_time()
        while not await self._mosquitto.reload():  # it went down: its successor has read the files, and may tell
            await trio.sleep(RETRY_SECONDS)
            await session_ready()
        self._known, self._talks = users, debug_logging
        log.info("broker reloaded", users=users.passwords.count("\n"), seconds=round(trio.current_time() - began, 3))

    async def _connect(self) -> Connection[tuple[object, ...]]:
        connection = await self._connect_anew()
        try:
            await broker_sync.hold_lock(connection, self._lock_key)
        except BaseException:
            connection.abandon()
            raise
        return connection

    def _told(self, notification: Notify) -> None:  # noqa: ARG002 - whatever it says, all is read again
        self._wake()

    def _wake(self) -> None:
        self._woken.set()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.wall(), UTC)


def _nothing() -> None:
    """What is announced when the broker is up to date again."""
