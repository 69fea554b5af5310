"""The appliance under test: a separate process with its own data folder, and the kernel's counters of it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from psycopg.conninfo import make_conninfo

from appliance.children.data_dir import RunFile, read_run_file

ROOT = Path(__file__).parent.parent
START_SECONDS = 60.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.005
TICKS = os.sysconf("SC_CLK_TCK")
KIB = 1024
BATCH_COUNT = "appliance_batch_messages_count"
WINDOWS_FILLING = "appliance_windows_filling"
RULES_IN_FORCE = "appliance_rules_in_force"
TENANT = "bench"
SEATS = "10"
"""The load publishes as one tenant's claim user; ``benchmarks.run`` gives more seats where it needs them."""

CONFIGURATION = """\
data_dir = "{folder}"
[broker]
host = "127.0.0.1"
port = 0
[web]
host = "127.0.0.1"
port = 0
"""


class Credential(msgspec.Struct, frozen=True):
    """A user of the device listener."""

    username: str
    password: str


class ApplianceProcess:
    """Started by entering, stopped by leaving; ``cold`` and ``warm`` are the seconds of its starts."""

    def __init__(self, folder: Path, settings: str = "") -> None:
        """``settings``: further sections of its configuration."""
        self.data = folder / "data"
        self._config = folder / "appliance.toml"
        self._log = folder / "appliance.log"
        self._config.write_text(CONFIGURATION.format(folder=self.data) + settings)
        self._process: subprocess.Popen[bytes] | None = None
        self.running: RunFile | None = None
        self._claim_user: Credential | None = None

    def start(self) -> float:
        """Start it; return the seconds until it served. Raises SystemExit with the end of its log when it does not."""
        started = time.monotonic()
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "appliance", "--config", str(self._config), "run"]
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        while (running := read_run_file(self.data)) is None:
            if self._process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise SystemExit(f"the appliance did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(POLL_SECONDS)
        self.running = running
        return time.monotonic() - started

    def stop(self) -> float:
        """Stop it by SIGTERM; return the seconds until it had ended. Raises SystemExit when it did not end well."""
        process, self._process, self.running = self._process, None, None
        if process is None:
            return 0.0
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if code:
            raise SystemExit(f"the appliance ended with {code}:\n{self._log.read_text()[-2000:]}")
        return time.monotonic() - started

    def kill(self) -> None:
        """Kill it (-9), so that it can be started again."""
        process, self._process, self.running = self._process, None, None
        assert process is not None, "the appliance is not running"
        process.kill()
        process.wait()
        (self.data / "run.json").unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()

    @property
    def pid(self) -> int:
        """The process id of the appliance itself, without its children."""
        assert self._process is not None, "the appliance is not running"
        return self._process.pid

    def conninfo(self, role: str) -> str:
        """Return the conninfo of its database, as ``role``."""
        assert self.running is not None, "the appliance is not running"
        return make_conninfo(self.running.database, user=role)

    def claim_user(self) -> Credential:
        """Return the claim user of a tenant with seats, created on the first call."""
        if self._claim_user is None:
            claim = msgspec.json.decode(self.command("tenant", "add", TENANT), type=dict[str, str])
            self.command("subscription", "add", TENANT, "--type", "TRIAL", "--limit", SEATS, "--days", "30")
            self._claim_user = Credential(claim["claim_username"], claim["claim_password"])
        return self._claim_user

    def command(self, *arguments: str) -> bytes:
        """Return what ``appliance ARGUMENTS --json`` prints."""
        program = [sys.executable, "-m", "appliance", "--config", str(self._config), *arguments, "--json"]
        return subprocess.run(program, check=True, capture_output=True).stdout

    def cpu(self) -> float:
        """Return the seconds of user and system time of the process, all threads, without its children."""
        fields = _stat(self.pid)
        return (int(fields[11]) + int(fields[12])) / TICKS

    def cpu_of_children(self, program: str) -> float:
        """Return the same of its children with this name and of theirs, those that have ended included."""
        parents: dict[int, tuple[int, str]] = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                parents[int(entry.name)] = int(_stat(int(entry.name))[1]), (entry / "comm").read_text().strip()
        heads = {pid for pid, (parent, name) in parents.items() if parent == self.pid and name == program}
        found = 0
        for pid in heads | {pid for pid, (parent, _) in parents.items() if parent in heads}:
            with contextlib.suppress(OSError):
                found += sum(map(int, _stat(pid)[11:15] if pid in heads else _stat(pid)[11:13]))
        return found / TICKS

    def cpu_of(self, pids: Iterable[int]) -> float:
        """Return the same of processes that go on."""
        return sum(sum(map(int, _stat(pid)[11:13])) for pid in pids) / TICKS

    def batches(self) -> int:
        """Return the number of committed batches."""
        return self._metric(BATCH_COUNT)

    def rules_in_force(self) -> int:
        """Return the number of rules that readings are judged by."""
        return self._metric(RULES_IN_FORCE)

    def windows_filling(self) -> int:
        """Return the number of windows that are not filled yet."""
        return self._metric(WINDOWS_FILLING)

    def _metric(self, wanted: str) -> int:
        """Return the value of a metric."""
        assert self.running is not None, "the appliance is not running"
        with urllib.request.urlopen(f"{self.running.web_url}/metrics", timeout=STOP_SECONDS) as answer:
            for line in answer.read().decode().splitlines():
                name, _, value = line.partition(" ")
                if name == wanted:
                    return int(float(value))
        raise SystemExit(f"the appliance's metrics have no {wanted}")

    def memory(self) -> tuple[int, int]:
        """Return the resident bytes: now, and the most so far."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        found = {name: value for name, _, value in (line.partition(":") for line in lines)}
        return int(found["VmRSS"].split()[0]) * KIB, int(found["VmHWM"].split()[0]) * KIB


def _stat(pid: int) -> list[str]:
    """Return what the kernel counts of a process, from its state on (see proc(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
