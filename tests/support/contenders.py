"""Processes that do the same at the same moment, so that what they decide together is decided by the database."""

import subprocess
import sys
from collections import Counter

import msgspec

PROCESSES = 2
END_SECONDS = 60.0


def contend(module: str, *arguments: str) -> Counter[str]:
    """Run ``python -m module arguments`` in PROCESSES processes, and return how often each outcome came.

    Each says ``ready``, waits for a line that all get at once, and prints a list of outcomes as its last line, in JSON.
    """
    command = [sys.executable, "-m", module, *arguments]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdout is not None
        line = ""
        while line.strip() != "ready":
            line = process.stdout.readline()
            assert line, "a contender ended early"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    outcomes: Counter[str] = Counter()
    for process in processes:
        output, _ = process.communicate(timeout=END_SECONDS)
        assert process.returncode == 0
        outcomes.update(msgspec.json.decode(output.splitlines()[-1], type=list[str]))
    return outcomes
