"""Time limits that are promises, on a machine that is busy with something else too."""

import os


def within(seconds: float) -> float:
    """``seconds`` where every process that wants a core has one; longer, in proportion, where they share.

    For limits that the product promises. A limit that only ends a test which hangs is simply a large number.
    """
    wanting = os.getloadavg()[0] / (os.cpu_count() or 1)
    return seconds * max(1.0, wanting)
