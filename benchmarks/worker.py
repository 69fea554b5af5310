"""A process of the benchmark: it reads a plan, answers ``ready``, starts at ``go``, and prints a report.

Like all processes of the benchmark it has its own session: Ctrl+C reaches only the benchmark, which ends them.
"""

import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Generic, Self, TypeVar

import msgspec

T = TypeVar("T")

ROOT = Path(__file__).parent.parent


class Worker(Generic[T]):
    """``python -m MODULE`` with a plan. Entering waits until it is ready."""

    def __init__(self, module: str, plan: msgspec.Struct, report: type[T]) -> None:
        self._module = module
        self._report = report
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._write(msgspec.json.encode(plan).decode())

    def __enter__(self) -> Self:
        if self._read() != "ready":
            self.__exit__(None, None, None)
            raise SystemExit(f"{self._module} did not get ready")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def go(self) -> None:
        """Start the clock."""
        self._write("go")

    def report(self) -> T:
        """Wait for its end, and return its report."""
        line = self._read()
        if not line:
            raise SystemExit(f"{self._module} ended without a report")
        return msgspec.json.decode(line, type=self._report)

    def run(self) -> T:
        """Start the clock, and wait for the report."""
        self.go()
        return self.report()

    def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
