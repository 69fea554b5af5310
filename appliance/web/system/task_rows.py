"""The task tree as rows of a table: the supervisor, its services, and the tasks of their nurseries, depth first."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from appliance.runtime.activity import in_words
from appliance.runtime.tasks import InnerTask
from appliance.runtime.tree import ServiceState, ServiceStatus
from appliance.web.page import formats
from appliance.web.system.reader import SystemView

THROUGH, LAST, PAST, NOTHING = "M7.5 0V32M7.5 16H16", "M7.5 0V16H16", "M7.5 0V32", ""
"""Lines of the tree, in a box of 16 by 32: to a row with siblings below, to the last sibling, past, none."""
DEEPEST = 2
"""Levels below a service that the page shows; the API has all."""
GLYPHS: Mapping[ServiceState, str] = {
    ServiceState.STARTING: "g-idle",
    ServiceState.RUNNING: "g-on",
    ServiceState.BEHIND: "g-stale",
    ServiceState.FAILING: "g-off",
}


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A row of the task tree; None for what it does not have."""

    level: int
    rails: tuple[str, ...]
    name: str
    kind: str
    glyph: str
    state: ServiceState
    doing: str
    has_tasks: bool
    rate: float | None = None
    up: str = ""
    restarts: int | None = None
    error: str | None = None
    error_at: float | None = None


def rows_of(view: SystemView, services: Sequence[ServiceStatus]) -> Iterator[TaskRow]:
    """Yield the supervisor, its services, and the tasks of their nurseries, depth first."""
    number = len(view.tasks)
    yield TaskRow(
        1,
        (),
        "supervisor",
        "",
        "g-on",
        ServiceState.RUNNING,
        f"watches {number} services",
        True,
        up=in_words(view.now - view.started_at),
    )
    for index, service in enumerate(services):
        last = index == len(services) - 1
        yield TaskRow(
            level=2,
            rails=(LAST if last else THROUGH,),
            name=service.name,
            kind=service.kind,
            glyph=GLYPHS[service.state],
            state=service.state,
            doing=_doing(service),
            has_tasks=bool(service.tasks),
            rate=service.rate,
            up=in_words(view.now - service.since),
            restarts=service.restarts,
            error=service.last_error if service.last_error != service.doing else None,
            error_at=service.last_error_at,
        )
        yield from _inner_rows(service.tasks, (NOTHING if last else PAST,))


def _inner_rows(tasks: Iterable[InnerTask], before: tuple[str, ...]) -> Iterator[TaskRow]:
    tasks = tuple(tasks)
    if len(before) > DEEPEST:
        return
    for index, task in enumerate(tasks):
        last = index == len(tasks) - 1
        yield TaskRow(
            level=len(before) + 2,
            rails=(*before, LAST if last else THROUGH),
            name=task.name,
            kind=f"{task.alike} of them" if task.alike > 1 else "",
            glyph=GLYPHS[ServiceState.RUNNING],
            state=ServiceState.RUNNING,
            doing="" if task.waits_in == task.name else f"waits in {task.waits_in}",
            has_tasks=bool(task.tasks),
        )
        yield from _inner_rows(task.tasks, (*before, NOTHING if last else PAST))


def _doing(service: ServiceStatus) -> str:
    if service.waiting is None or (service.room is None and not service.waiting):
        return service.doing
    queue = f"{formats.count(service.waiting)} waiting"
    if service.room is not None:
        queue = f"{formats.count(service.waiting)} of {formats.count(service.room)} waiting"
    return f"{service.doing}, {queue}"
