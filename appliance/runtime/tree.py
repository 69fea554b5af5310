"""The tree of services: started in order, each when it can serve; stopped in reverse; watched while they run.

The supervisor's own tool. A service is ``async def run(*, task_status)``; it ends when cancelled. One that ends by
itself, or raises, ends the whole tree: its error leaves through the nursery.

The status of a service comes from three places, none of which costs anything per message: its :class:`Report`, made on
request; its :mod:`appliance.runtime.activity`, in which periodic work records what it does; and Trio itself, which
knows the tasks that run below it and where each of them waits.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar, cast

import structlog
import trio

from appliance.errors import ServiceEndedError
from appliance.runtime.activity import Activity, enter
from appliance.runtime.tasks import InnerTask, inner_tasks, whereabouts

log = structlog.get_logger(__name__)

Value = TypeVar("Value")

RATE_SAMPLES = 11
"""Samples of a service's count, one a second as a rule: rates are means over ten seconds."""
ORDERLY_SECONDS = 3.0
"""Seconds for stopping one service after the other."""
NEARLY_FULL = 0.5
"""A service whose queue is filled to this share is behind."""


class ServiceState(StrEnum):
    """The states of a service."""

    STARTING = "starting"
    RUNNING = "running"
    BEHIND = "behind"
    """Its queue is filling."""
    FAILING = "failing"
    """Its last round failed; it tries again by itself."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a service reports on request; what it does not know is None."""

    doing: str | None = None
    kind: str = ""
    """Shown beside its name: a version, a port."""
    count: float | None = None
    """Things done since the start; the rate is computed from it."""
    waiting: int | None = None
    """Things that wait for it, at most ``room``."""
    room: int | None = None
    restarts: int = 0
    trouble: str | None = None
    """What is wrong now; None if nothing is."""
    last_error: str | None = None


Reporter = Callable[[], Report]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The current status of one service. Times are seconds since 1970, ``rate`` is things a second."""

    name: str
    state: ServiceState
    kind: str
    doing: str
    since: float
    rate: float | None
    waiting: int | None
    room: int | None
    restarts: int
    last_error: str | None
    last_error_at: float | None
    tasks: tuple[InnerTask, ...]
    """The tasks below it, from its nurseries."""


class Service:
    """One running service."""

    __slots__ = ("_began", "_report", "_samples", "activity", "done", "name", "scope", "serving", "stopping", "task")

    def __init__(self, name: str, report: Reporter | None = None) -> None:
        self.name = name
        self._report = report
        self.activity = Activity()
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self._began = time.monotonic()
        self.serving = False
        self.stopping = False
        self.task: trio.lowlevel.Task | None = None
        self._samples: deque[tuple[float, float]] = deque(maxlen=RATE_SAMPLES)

    def may_end(self) -> None:
        """Allow the service to end by itself: it was asked to."""
        self.stopping = True

    async def stop(self) -> None:
        """Cancel the service and wait until it has ended."""
        self.stopping = True
        self.scope.cancel()
        await self.done.wait()

    def sample(self, now: float) -> None:
        """Record how much is done at ``now`` (monotonic seconds)."""
        report = self._ask()
        if report.count is not None:
            self._samples.append((now, report.count))

    def status(self, now: float) -> ServiceStatus:
        """Return the current status; ``now`` is the service time, to which its times are put."""
        report = self._ask()
        failed_ago = self.activity.failed_ago()
        failed_at = None if failed_ago is None else now - failed_ago
        error = report.trouble or report.last_error or self.activity.last_error
        return ServiceStatus(
            name=self.name,
            state=self._state(report),
            kind=report.kind,
            doing=report.trouble or report.doing or self.activity.words() or self._whereabouts(),
            since=now - (time.monotonic() - self._began),
            rate=self._rate(),
            waiting=report.waiting,
            room=report.room,
            restarts=report.restarts,
            last_error=error,
            last_error_at=failed_at if error == self.activity.last_error else None,
            tasks=() if self.task is None else inner_tasks(self.task),
        )

    def _ask(self) -> Report:
        return Report() if self._report is None or not self.serving else self._report()

    def _state(self, report: Report) -> ServiceState:
        if not self.serving:
            return ServiceState.STARTING
        if report.trouble is not None or self.activity.failing:
            return ServiceState.FAILING
        full = report.waiting is not None and report.room and report.waiting >= report.room * NEARLY_FULL
        return ServiceState.BEHIND if full else ServiceState.RUNNING

    def _rate(self) -> float | None:
        if len(self._samples) < 2:
            return None
        (first, before), (last, count) = self._samples[0], self._samples[-1]
        return (count - before) / (last - first) if last > first else None

    def _whereabouts(self) -> str:
        return "" if self.task is None else f"waits in {whereabouts(self.task)}"


class Tree:
    """The services of one nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._services: list[Service] = []
        self._began = time.monotonic()

    def age(self) -> float:
        """Return the seconds since the start."""
        return time.monotonic() - self._began

    def status(self, now: float) -> list[ServiceStatus]:
        """Return the services that run at the service time ``now``, in the order of their start."""
        return [service.status(now) for service in self._services]

    def sample(self, now: float) -> None:
        """Record how much every service has done at ``now`` (monotonic seconds), for the rates."""
        for service in self._services:
            service.sample(now)

    async def start(
        self, name: str, run: Callable[..., Awaitable[Any]], *args: Any, report: Reporter | None = None
    ) -> tuple[Service, Any]:
        """Start a service; return once it serves, with the value it passed to ``started()``.

        ``report`` is called when its status is requested.
        """
        service = Service(name, report)
        value = await self._nursery.start(self._body, service, run, args)
        service.serving = True
        log.debug("service started", service=name)
        return service, value

    async def open(
        self, name: str, resource: AbstractAsyncContextManager[Value], report: Callable[[Value], Report] | None = None
    ) -> Value:
        """Hold a resource open as a service, so that it is closed in its turn. ``report`` is called with it."""
        held: list[Value] = []
        _, value = await self.start(name, _hold, resource, report=None if report is None else lambda: report(held[0]))
        held.append(cast("Value", value))
        return held[0]

    async def _body(
        self,
        service: Service,
        run: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        service.task = trio.lowlevel.current_task()
        enter(service.activity)
        self._services.append(service)
        try:
            with service.scope:
                await run(*args, task_status=task_status)
            if not service.stopping and service.serving:
                raise ServiceEndedError(f"the service {service.name} ended by itself; this is a bug")
        finally:
            self._services.remove(service)
            service.done.set()

    async def drain(self) -> None:
        """Stop what still runs, the last started first; after ORDERLY_SECONDS all that is left at once.

        Services that wait for a database that does not answer take a while each, and do not depend on the order.
        """
        services = tuple(reversed(self._services))
        with trio.move_on_after(ORDERLY_SECONDS):
            for service in services:
                log.debug("service stops", service=service.name)
                await service.stop()
        for service in services:
            service.may_end()
            service.scope.cancel()
        for service in services:
            await service.done.wait()


async def _hold(resource: AbstractAsyncContextManager[Any], *, task_status: trio.TaskStatus[Any]) -> None:
    async with resource as value:
        task_status.started(value)
        await trio.sleep_forever()
