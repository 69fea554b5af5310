"""The program asks one clock, which is handed in: nothing reads the machine's time of day beside it.

Durations may be measured anywhere: ``time.monotonic``, ``time.perf_counter`` and Trio's clock are not looked for.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "appliance"

READS = {
    "time": {"asctime", "clock_gettime", "clock_gettime_ns", "ctime", "gmtime", "localtime", "time", "time_ns"},
    "datetime": {"now", "today", "utcnow"},
    "date": {"today"},
    "structlog": {"TimeStamper"},
}
"""Module or class -> what of it tells the time of day."""

EXEMPT = {
    "clock.py": "the clock itself",
    "logs.py": "lines of the log stand beside those of other programs of the machine",
    "simulate/publish.py": "a simulated device has a clock of its own",
    "children/mosquitto_program.py": "a part of the name of a file that is set aside",
}
"""File -> why it may."""

SERVICE_CLOCK = "service_clock/"
"""The package that makes the service time of the clocks of the machine."""

MAKERS = {
    "supervisor/__init__.py": "the process",
    "mqtt/client.py": "a library of its own",
    "cli/administration.py": "a command",
    "cli/database.py": "a command",
    "cli/migrate.py": "a command",
    "cli/replaying.py": "a command",
}
"""Files in which the clock of the machine may be made a service's clock: where a program begins."""


def reads_of(source: str) -> Iterator[str]:
    """Yield each read of the time of day in ``source``."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{name.name}" for name in node.names if name.name in READS["time"])
        elif isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).rpartition(".")[2]
            if node.attr in READS.get(owner, ()):
                yield f"{owner}.{node.attr}"
            elif node.attr in READS["structlog"]:
                yield f"structlog.{node.attr}"


def makes_system_clock(source: str) -> bool:
    """Whether ``source`` calls ``SystemClock()``."""
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "SystemClock"
        for node in ast.walk(ast.parse(source))
    )


def sources() -> Iterator[tuple[str, str]]:
    """Yield the path below the package and the text of every file."""
    for path in sorted(ROOT.rglob("*.py")):
        yield str(path.relative_to(ROOT)), path.read_text()


def test_nothing_reads_the_time_of_day_but_the_clock() -> None:
    found = {name: sorted(set(reads_of(text))) for name, text in sources()}
    readers = {name for name, reads in found.items() if reads and not name.startswith(SERVICE_CLOCK)}
    assert {name: found[name] for name in readers - set(EXEMPT)} == {}
    assert readers >= set(EXEMPT), "an exemption that is not needed any more"


def test_a_clock_is_made_only_where_a_program_begins() -> None:
    makers = {name for name, text in sources() if makes_system_clock(text)}
    assert makers - set(MAKERS) == set()


@pytest.mark.parametrize(
    "source",
    [
        "import time\ntime.time()",
        "import time\nf(now=time.time)",
        "from time import time",
        "import time\ntime.time_ns()",
        "import time\ntime.gmtime()",
        "from datetime import UTC, datetime\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.utcnow()",
        "from datetime import date\ndate.today()",
    ],
)
def test_every_way_to_read_it_is_found(source: str) -> None:
    assert list(reads_of(source))


def test_durations_are_not_looked_for() -> None:
    assert list(reads_of("import time\ntime.monotonic()\ntime.perf_counter()\nclock.now()\nself._now()")) == []
