"""The tree of services: started in order, each when it can serve; stopped in reverse; watched while they run.

The supervisor's own tool. A service is ``async def run(*, task_status)``; it ends when cancelled. One that ends by
itself, or raises, ends the whole tree: its error leaves through the nursery.
"""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import structlog
import trio

from appliance.errors import ApplianceError

log = structlog.get_logger(__name__)

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One line of the task tree: ``since`` is in seconds since 1970."""

    name: str
    since: float
    serving: bool


class Service:
    """One running service."""

    __slots__ = ("done", "name", "scope", "serving", "since", "stopping")

    def __init__(self, name: str) -> None:
        self.name = name
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.since = time.time()
        self.serving = False
        self.stopping = False

    def may_end(self) -> None:
        """From now on the service may end by itself: somebody asked it to."""
        self.stopping = True

    async def stop(self) -> None:
        """Cancel the service and wait until it has ended."""
        self.stopping = True
        self.scope.cancel()
        await self.done.wait()


class Tree:
    """The services of one nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._services: list[Service] = []

    def status(self) -> list[ServiceStatus]:
        """The services that run, in the order of their start."""
        return [ServiceStatus(service.name, service.since, service.serving) for service in self._services]

    async def start(self, name: str, run: Callable[..., Awaitable[Any]], *args: Any) -> tuple[Service, Any]:
        """Start a service; returns once it serves, with what it said."""
        service = Service(name)
        value = await self._nursery.start(self._body, service, run, args)
        service.serving = True
        log.debug("service started", service=name)
        return service, value

    async def open(self, name: str, resource: AbstractAsyncContextManager[Value]) -> Value:
        """Hold a resource open as a service, so that it is closed in its turn."""
        _, value = await self.start(name, _hold, resource)
        return cast("Value", value)

    async def _body(
        self,
        service: Service,
        run: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        *,
        task_status: trio.TaskStatus[Any],
    ) -> None:
        self._services.append(service)
        try:
            with service.scope:
                await run(*args, task_status=task_status)
            if not service.stopping and service.serving:
                raise ApplianceError(f"the service {service.name} ended by itself; this is a bug")
        finally:
            self._services.remove(service)
            service.done.set()

    async def drain(self) -> None:
        """Stop what still runs, the last started first."""
        for service in reversed(tuple(self._services)):
            log.debug("service stops", service=service.name)
            await service.stop()


async def _hold(resource: AbstractAsyncContextManager[Any], *, task_status: trio.TaskStatus[Any]) -> None:
    async with resource as value:
        task_status.started(value)
        await trio.sleep_forever()
