"""The environment of a benchmark: machine, versions, commit."""

import os
import platform
import subprocess
import time
from pathlib import Path

import psycopg

YARDSTICK_STEPS = 500_000


def machine() -> str:
    """Return number and name of the processors, and how busy they were before we began."""
    names = [
        value.strip()
        for name, _, value in (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
        if name.strip() == "model name"
    ]
    return f"{os.cpu_count()} CPUs ({names[0] if names else platform.machine()}), load {os.getloadavg()[0]:.1f}"


def yardstick() -> float:
    """Return the CPU seconds of a fixed piece of Python: the current speed of this machine."""
    started = time.process_time()
    total = 0
    for number in range(YARDSTICK_STEPS):
        total += number * number
    return time.process_time() - started


def commit() -> str:
    """Return the commit that is checked out, with a + if files differ from it; ``-`` outside of a checkout."""
    folder = Path(__file__).parent
    asked = [
        subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
    ]
    if any(answer.returncode for answer in asked):
        return "-"
    return asked[0].stdout.strip() + ("+" if asked[1].stdout.strip() else "")


def versions(conninfo: str, mosquitto: str) -> list[str]:
    """Return the versions of Python, Postgres and Mosquitto; ``mosquitto`` is its program."""
    with psycopg.connect(conninfo) as connection:
        row = connection.execute("SELECT current_setting('server_version')").fetchone()
        assert row is not None
    told = subprocess.run([mosquitto, "-h"], capture_output=True, text=True, check=False).stdout
    return [f"Python {platform.python_version()}", f"Postgres {row[0]}", told.partition("\n")[0]]
