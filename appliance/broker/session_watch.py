"""Watches how an external broker keeps our session, which is where messages wait while we are away.

Enters: the states of our connection. Leaves: what is wrong, for people. Never: a repair; the broker is not ours.

A broker that lost the session has lost what waited in it. So it is remembered in the data folder which broker has had a
session of ours: one that has none after our stop is told as well.
"""

import hashlib
from pathlib import Path

import structlog
import trio

from appliance.broker.clients import SESSION_SECONDS
from appliance.broker.session_terms import shortfall
from appliance.children.files import bring_up_to_date
from appliance.clock import Clock
from appliance.mqtt.client import Client
from appliance.mqtt.link import LinkState
from appliance.runtime.activity import activity

TOLD_SECONDS = 600.0
"""Seconds for which a lost session is told, in an alert too."""
LOST = "it lost our session: what devices sent while there was none was not kept"

log = structlog.get_logger(__name__)


class SessionWatch:
    """See the module's docstring. ``memory`` is the file that names the broker, ``url`` its address."""

    def __init__(self, client: Client, memory: Path, url: str, clock: Clock) -> None:
        self._client = client
        self._memory = memory
        self._broker = hashlib.sha256(url.encode()).hexdigest().encode()  # an address may hold a secret
        self._clock = clock
        self._lost_at = float("-inf")
        self._shortfall: str | None = None

    @property
    def trouble(self) -> str | None:
        """What the broker does not keep for us; None when all is well."""
        if self._clock.monotonic() - self._lost_at < TOLD_SECONDS:
            return LOST
        return self._shortfall

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Watch until cancelled."""
        had_session = await trio.to_thread.run_sync(self._remembered)
        activity().doing("watches whether the broker keeps our session")
        task_status.started()
        async for link in self._client.link_changes():
            if link.state is not LinkState.READY:
                continue
            if had_session and not link.session_present:
                self._lost_at = self._clock.monotonic()
                log.error("broker state lost", cause=LOST)
            self._look(shortfall(link.connack, SESSION_SECONDS))
            if not had_session:
                await trio.to_thread.run_sync(self._remember)
            had_session = True

    def _look(self, missing: str | None) -> None:
        if missing is not None and missing != self._shortfall:
            log.warning("the broker grants our session less than it should", missing=missing)
        self._shortfall = missing

    def _remembered(self) -> bool:
        try:
            return self._memory.read_bytes() == self._broker
        except OSError:
            return False

    def _remember(self) -> None:
        try:
            bring_up_to_date(self._memory, self._broker)
        except OSError as error:  # a full disk, which is told elsewhere
            log.warning("cannot note which broker has our session", error=str(error))
