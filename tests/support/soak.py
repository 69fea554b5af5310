"""The length of tests whose claim is about any moment or any input: kills, chaos, properties.

``make test`` runs each of them long enough to fail for the promise it holds. ``make soak`` runs the same tests with
ten times the repetitions, messages and examples; it sets ``SOAK=1``, and nothing else reads that variable. A test
takes its counts from :func:`times`. Hypothesis tests need nothing: the profile that conftest loads multiplies their
examples, also where ``@settings`` names a number of them as ``times(...)``.
"""

import os

from hypothesis import HealthCheck, settings

FACTOR = 10
LONG = os.environ.get("SOAK", "") not in {"", "0"}
"""Whether the long versions run."""


def times(count: int) -> int:
    """Return how often to do what the short version does ``count`` times."""
    return count * FACTOR if LONG else count


def load_profile() -> None:
    """Give Hypothesis its number of examples, and no deadline: a busy machine says nothing about the claim."""
    examples = times(settings.get_profile("default").max_examples)
    settings.register_profile(
        "appliance", deadline=None, max_examples=examples, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("appliance")
