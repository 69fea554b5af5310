"""Time limits that are promises, on a machine that is busy with something else too."""

import os
from pathlib import Path


def within(seconds: float) -> float:
    """``seconds`` where every process that wants a core has one; longer, in proportion, where they share.

    For limits that the product promises. A limit that only ends a test which hangs is simply a large number.
    """
    wanting = max(os.getloadavg()[0], _running()) / (os.cpu_count() or 1)
    return seconds * max(1.0, wanting)


def _running() -> int:
    """Return how many processes want a core at this moment: the average of a minute is late."""
    return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
