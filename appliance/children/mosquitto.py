"""The embedded Mosquitto, with the device listener opened last.

A broker without a subscriber acknowledges what devices send and drops it. So devices are let in only when the
appliance's durable session and its subscription are known to be in the broker's store:

    private ---- open_devices() ----> open       the broker stops and saves, the store is checked, it starts again
    open ------ close_devices() ----> private    the broker has lost the session
    open ------ crash --------------> private    it is unknown what was saved last
    open ------ clean stop ---------> open       the next start finds the same store that was saved

The owner of the session calls :meth:`Mosquitto.open_devices` after every subscription; when devices are let in
already, that does nothing.
"""

import signal
from collections.abc import Callable

import trio

from appliance.children import mosquitto_files as files
from appliance.children.data_dir import DataDir
from appliance.children.keeper import ChildStatus, Keeper, Patience, Readiness
from appliance.children.mosquitto_program import BrokerEndpoint, BrokerProgram
from appliance.children.programs import MosquittoProgram
from appliance.clock import Clock


class Mosquitto:
    """A service: ``await nursery.start(mosquitto.run)``, connect to :attr:`endpoint`, subscribe, let devices in."""

    def __init__(
        self,
        data_dir: DataDir,
        *,
        host: str,
        port: int,
        subscription: str,
        users: files.Users | None = None,
        limits: files.BrokerLimits,
        clock: Clock,
        patience: Patience | None = None,
        on_line: Callable[[str], None] | None = None,
        disk_full: Callable[[], str | None] = lambda: None,
        debug_logging: bool = False,
        bind_client_ids: bool = False,
        plain: bool = True,
        tls_port: int | None = None,
        certificate: bytes | None = None,
    ) -> None:
        """``host:port`` is for devices, port 0 picks a free one. ``subscription`` is the topic filter that the
        session of ``data_dir.instance.mqtt_client_id`` must hold before devices are let in. ``on_line`` gets every
        line the broker prints, with our own client id masked; ``debug_logging`` makes it several lines a message,
        denied topics included. ``bind_client_ids``: the client id of a device is its user name. ``disk_full`` says why
        the disk of ``data_dir`` is full, None while it is not. ``tls_port`` is for devices under TLS, 0 for a free one,
        with ``certificate``, PEM text that ends with its key; without ``plain`` they come in by that one alone."""
        self._program = BrokerProgram(
            data_dir,
            files.DeviceListener(host, port, bind_client_ids, plain, tls_port),
            subscription,
            users or files.Users(),
            limits,
            on_line,
            debug_logging=debug_logging,
            certificate=certificate,
        )
        self._keeper = Keeper(self._program, clock, patience or Patience(), disk_full)
        self._changing = trio.Lock()

    @property
    def endpoint(self) -> BrokerEndpoint:
        """The private listener: a Unix socket that only we and the broker's user can reach."""
        return self._program.endpoint

    @property
    def devices(self) -> files.DeviceListener:
        """The listener for devices; its ports are the real ones once :meth:`run` has started."""
        return self._program.devices

    @property
    def certificate(self) -> bytes | None:
        """The certificate of the listener under TLS with its key, as it was written last."""
        return self._program.certificate

    @property
    def probe_password(self) -> str:
        """The password of the user that tries the device listener, random at each start of the process."""
        return self._program.probe_password

    @property
    def devices_open(self) -> bool:
        """Whether devices can connect now."""
        return self._keeper.ready.is_set() and self._program.devices_open

    @property
    def stores_lost(self) -> int:
        """How often the broker's state was found damaged, replaced or gone since the start of the process."""
        return self._program.stores_lost

    @property
    def store_bytes(self) -> int | None:
        """The size of the broker's state on disk; None while there is none."""
        return self._program.store_bytes()

    @property
    def unsaved(self) -> str | None:
        """Why the broker cannot save its queue, which it has in memory alone then; None while it can."""
        return self._program.saves.trouble

    @property
    def program(self) -> MosquittoProgram:
        """The broker in use, once :meth:`run` has started."""
        if self._program.program is None:
            raise RuntimeError("Mosquitto was not started")
        return self._program.program

    @property
    def status(self) -> ChildStatus:
        """The broker's current status."""
        return self._keeper.status

    @property
    def ready(self) -> Readiness:
        """Set while the private listener answers."""
        return self._keeper.ready

    @property
    def silent(self) -> bool:
        """Return whether it runs and does not answer, as a frozen process does."""
        return self._keeper.silent

    async def run(self, *, task_status: trio.TaskStatus[BrokerEndpoint] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the broker until cancelled; ``started()`` with the endpoint once its private listener answers.

        Raises :class:`ApplianceError` when it is not installed, the port is taken, or it dies too often.
        """
        await self._program.settle()
        await self._keeper.run(lambda: task_status.started(self.endpoint))

    async def open_devices(self) -> bool:
        """Open the device listener, after the session has subscribed. Return whether it is open.

        Unless they are already, the broker restarts, which ends every connection: the caller's client comes back to
        its session. False means that the broker's store does not hold the subscription (the broker died in
        between): connect, subscribe and call again.
        """
        async with self._changing:
            if not self.devices_open:
                self._program.devices_wanted = True
                await self._keeper.restart()
            return self._program.devices_open

    async def close_devices(self) -> None:
        """Close the device listener: the session is gone. Ends every connection; connect, subscribe, open again."""
        async with self._changing:
            if self.devices_open:
                self._program.lose_state("the broker does not know our session")
                self._program.devices_wanted = False
                await self._keeper.restart()

    async def write(
        self,
        *,
        users: files.Users | None = None,
        debug_logging: bool | None = None,
        certificate: bytes | None = None,
    ) -> None:
        """Write what is given into the broker's files; it reads them at its next start or :meth:`reload`.

        Raises OSError when the disk does not take them.
        """
        await self._program.write(users, debug_logging, certificate)

    async def reload(self) -> bool:
        """Make the broker read its files again; return True once it applies them. Removed users are disconnected.

        False when it is down or ended meanwhile: it reads them when it starts. Call this only while the session is
        connected (:mod:`appliance.children.mosquitto_reload` says why).
        """
        child = self._keeper.child
        if child is None or not self._keeper.ready.is_set():
            return False  # and before it is ready its handlers are not set, and the signal would end it
        return await self._program.reloader.reload(child, self.endpoint.socket)

    @property
    def reloads(self) -> int:
        """Number of reloads since the start of the process."""
        return self._program.reloader.count

    def save(self) -> None:
        """Make the broker write its store now (SIGUSR1); a stopped one has written it."""
        if self._keeper.child is not None and self._keeper.ready.is_set():
            self._keeper.child.signal(signal.SIGUSR1)
