"""When a try that did not succeed is repeated: pure, with the random number handed in.

After an answer each repeat uses a step of the table. A try that reached nobody uses none: it says nothing about the
receiver, and comes again soon for as long as the way out is missing.
"""

from datetime import timedelta

STEPS = (5.0, 30.0, 120.0, 600.0, 1800.0, 7200.0, 21_600.0, 43_200.0)
"""Seconds to the next try after the first one, the second one, ...; after the last there is none: DEAD."""
JITTER = 0.2
"""Share by which a step is lengthened at most, so that many jobs do not come back at once."""
MAX_RETRY_AFTER = 3600.0
"""Seconds for which a receiver may ask at most."""
FIRST_UNREACHED = 5.0
LONGEST_UNREACHED = 60.0
"""Seconds between two tries that reach nobody: they grow from the first to the second."""
FAILURES_TO_OPEN = 5
"""Failures in a row that open the circuit breaker of an integration."""
PROBE_SECONDS = 60.0
"""Seconds between two probes, of one job each, while the breaker is open."""
KEEP_FINISHED = timedelta(days=90)
"""How long jobs that ended, and their attempts, are kept."""


def after_answer(tries: int, retry_after: float | None, random: float) -> float | None:
    """Return the seconds to the next try when ``tries`` have used a step, the last one included; None: no more.

    ``retry_after``: the seconds that the receiver asked for, never a reason to come earlier. ``random``: 0 to 1.
    """
    if tries > len(STEPS):
        return None
    longer = 1 + JITTER * random
    asked = 0.0 if retry_after is None else min(retry_after * longer, MAX_RETRY_AFTER)
    return max(STEPS[tries - 1] * longer, asked)


def after_unreached(row: int, random: float) -> float:
    """Return the seconds to the next try after ``row`` tries in a row (1 or more) that reached nobody."""
    delay = min(FIRST_UNREACHED * 2.0 ** min(row - 1, 16), LONGEST_UNREACHED)
    return delay * (1 - JITTER * random)
