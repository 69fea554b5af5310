"""The tasks below a task, as Trio knows them: the nurseries it has opened, what runs there and where it waits.

Nothing has to be reported for this, so it cannot be wrong; reading it costs some microseconds a task.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import trio

OURS = "appliance."
MAX_DEPTH = 4
"""Depth of nested nurseries that are read."""
MAX_TASKS = 500
"""Tasks of a nursery that are read: a dashboard may have thousands of connections."""


@dataclass(frozen=True, slots=True)
class InnerTask:
    """A task, or ``alike`` of them that do the same in the same place."""

    name: str
    waits_in: str
    alike: int
    tasks: tuple["InnerTask", ...]


def inner_tasks(task: trio.lowlevel.Task, deepest: int = MAX_DEPTH) -> tuple[InnerTask, ...]:
    """Return what runs in the nurseries of ``task``; tasks that do the same are counted, not repeated."""
    if deepest == 0:
        return ()
    found = Counter(
        (_named(child.name), whereabouts(child), inner_tasks(child, deepest - 1)) for child in _children(task)
    )
    return tuple(sorted((InnerTask(*key[:2], alike, key[2]) for key, alike in found.items()), key=_order))


def whereabouts(task: trio.lowlevel.Task) -> str:
    """Return the innermost function of ours in which the task waits, else the library function it began with."""
    ours = outermost = ""
    for frame, _ in task.iter_await_frames():
        outermost = outermost or frame.f_code.co_qualname
        if str(frame.f_globals.get("__name__", "")).startswith(OURS):
            ours = frame.f_code.co_qualname
    return _short(ours or outermost or task.name)


def _children(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    for nursery in task.child_nurseries:
        yield from list(nursery.child_tasks)[:MAX_TASKS]


def _named(name: str) -> str:
    """``appliance.ingest.pipeline.Pipeline._admit`` as ``Pipeline._admit``; a nested function by itself."""
    *_, owner, own = ("", *_short(name).split("."))
    return f"{owner}.{own}" if owner[:1].isupper() else own


def _short(name: str) -> str:
    return name.replace(".<locals>", "")


def _order(task: InnerTask) -> tuple[str, str]:
    return task.name, task.waits_in
