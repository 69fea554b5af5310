"""What it takes to bring data along to another major version of Postgres: the old and the new lie side by side."""

import os
from pathlib import Path

from appliance.children.postgres_files import KEPT_LOG, MIB
from appliance.disk.reserve import measure

NEW_LOG = 2 * KEPT_LOG * MIB
"""Bytes that the log of a new cluster takes while it is filled."""


def room_for_both(cluster: Path) -> str:
    """Return, for people, what a restore beside the data in ``cluster`` takes of its disk, and what is free."""
    size, free = _bytes_below(cluster / "base"), measure(cluster).free
    return (
        f" The restored data need about {(size + NEW_LOG) // MIB:,} MB beside the old ones,"
        f" and FILE at most some {size // 2 // MIB + 1:,} MB; {free // MIB:,} MB are free."
    )


def _bytes_below(folder: Path) -> int:
    paths = (Path(parent) / name for parent, _, names in os.walk(folder) for name in names)
    return sum(path.stat().st_blocks * 512 for path in paths if path.is_file())
