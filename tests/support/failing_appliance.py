"""An appliance of which one service fails: ``FAILING_SERVICE`` names it. ``python -m tests.support.failing_appliance``.

It fails with an error that nobody expects, a second after the appliance has become ready.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import trio

from appliance.__main__ import main
from appliance.runtime.tree import Report, Service, Tree

VARIABLE = "FAILING_SERVICE"
FAULT = "a fault that was made on purpose"
_start = Tree.start


async def start(
    tree: Tree, name: str, run: Callable[..., Awaitable[Any]], *args: Any, report: Callable[[], Report] | None = None
) -> tuple[Service, Any]:
    """Start a service, the named one with the fault beside it."""
    if name != os.environ[VARIABLE]:
        return await _start(tree, name, run, *args, report=report)

    async def fail() -> None:
        while not (Path(os.environ["APPLIANCE_DATA_DIR"]) / "run.json").exists():
            await trio.sleep(0.01)
        raise RuntimeError(FAULT)

    async def failing(*args: Any, task_status: trio.TaskStatus[Any]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail)
            await run(*args, task_status=task_status)

    return await _start(tree, name, failing, *args, report=report)


if __name__ == "__main__":
    Tree.start = start  # type: ignore[method-assign, assignment]
    sys.exit(main())
