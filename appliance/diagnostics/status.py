"""What the process tells of itself on request: its services, the room on its disk, and its metrics."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from appliance.diagnostics.reports import disk_room
from appliance.disk.watch import DiskWatch
from appliance.metrics import Metrics
from appliance.runtime.tree import Tree


def status(tree: Tree, metrics: Metrics, disk: DiskWatch, now: Callable[[], float]) -> Callable[[], Mapping[str, Any]]:
    """Return a function that tells of the process; what it returns is JSON, without a secret or a message."""

    def report() -> Mapping[str, Any]:
        return {
            "age_seconds": tree.age(),
            "tasks": msgspec.to_builtins(list(tree.status(now()))),
            "disk": msgspec.to_builtins(disk_room(disk)),
            "metrics": metrics.exposition().decode(),
        }

    return report
