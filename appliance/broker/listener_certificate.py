"""Hands the certificate of the devices' listener under TLS to the broker whenever it has changed.

The broker reads it anew by SIGHUP, without an end of connections: those that are there go on, new ones see the new
certificate. Only while our session is connected (:mod:`appliance.children.mosquitto_reload` says why).
"""

from collections.abc import Awaitable, Callable

import structlog
import trio

from appliance.children.mosquitto import Mosquitto
from appliance.runtime.activity import activity

RETRY_SECONDS = 0.5
"""Seconds until the broker is given a certificate again that it did not take."""

log = structlog.get_logger(__name__)


class ListenerCertificate:
    """Follows a certificate: ``read`` returns it with its key, as PEM text."""

    def __init__(self, mosquitto: Mosquitto, read: Callable[[], bytes]) -> None:
        self._mosquitto = mosquitto
        self._read = read
        self._known = mosquitto.certificate
        self._changed = trio.Event()

    def changed(self) -> None:
        """Take note that there may be another one."""
        self._changed.set()

    async def run(self, session_ready: Callable[[], Awaitable[object]], *, task_status: trio.TaskStatus[None]) -> None:
        """Follow until cancelled. ``session_ready`` returns while our session is connected."""
        self._changed.set()  # it may have changed since the broker was started
        task_status.started()
        while True:
            activity().doing("waits for another certificate")
            await self._changed.wait()
            self._changed = trio.Event()
            if not await self._update(session_ready):
                self._changed.set()
                await trio.sleep(RETRY_SECONDS)

    async def _update(self, session_ready: Callable[[], Awaitable[object]]) -> bool:
        """Bring the broker up to date; return whether it is."""
        try:
            certificate = await trio.to_thread.run_sync(self._read)
            if certificate == self._known:
                return True
            await self._mosquitto.write(certificate=certificate)
        except OSError as error:  # the disk is full
            activity().failed(error)
            log.warning("the broker's certificate waits", error=str(error))
            return False
        await session_ready()
        if not await self._mosquitto.reload():  # it ended: its successor reads the file
            return False
        self._known = certificate
        activity().did()
        log.info("the broker has another certificate")
        return True
