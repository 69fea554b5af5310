"""A whole appliance as a child process: the real program with its own Postgres and Mosquitto, in its own folder."""

import functools
import html
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import trio

from appliance.db.endpoint import Endpoint
from appliance.db.trio_psycopg import connect
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.devices.tenants import IssuedClaim
from tests.support import fork_server
from tests.support.fork_server import Forked
from tests.support.postgres_server import ground
from tests.support.project import ROOT
from tests.support.tenants import issue_tenant, sell

READY_SECONDS = 90.0


def free_port() -> int:
    """Return a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


EMAIL = "ops@acme.example"
PASSWORD = "a walrus on a bicycle"
SET_UP_LINK = re.compile(r"https?://\S+/set-up/\S+")
CSRF = re.compile(r'name="csrf_token" value="([^"]+)"')
LINE = re.compile(r'<pre class="code" tabindex="0">(.*?)</pre>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class SetUp:
    """What the set-up has shown: the page, and its two shell commands as argument lists."""

    email: str
    page: str
    mosquitto: list[str]
    curl: list[str]
    cookies: dict[str, str]


def set_up_by(link: str, organisation: str) -> SetUp:
    """Become the operator of the organisation by the set-up link, as a browser without script does."""
    with httpx.Client(verify=False, follow_redirects=True, timeout=20) as browser:
        token = CSRF.search(browser.get(link).text)
        assert token is not None
        given = {"email": EMAIL, "password": PASSWORD, "organisation": organisation, "time_zone": "UTC"}
        page = browser.post(link, data={"csrf_token": token[1], **given})
        assert page.status_code == 200, page.text
        lines = [shlex.split(html.unescape(line)) for line in LINE.findall(page.text)]
        return SetUp(EMAIL, page.text, lines[0], lines[1], dict(browser.cookies))


class ApplianceProcess:
    """An appliance to start, stop and kill as often as a test likes; its data and the broker's port stay the same."""

    def __init__(self, settings: dict[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="appliance-test-", dir=ground()))
        self.folder.chmod(0o755)
        self.data_dir = self.folder / "data"
        self.seen_dir = self.data_dir
        """The same folder as this process sees it: another path where the appliance has a namespace of its own."""
        self.log = self.folder / "log"
        self.mqtt_port = free_port()
        self.settings = {
            "APPLIANCE_DATA_DIR": str(self.data_dir),
            "APPLIANCE_BROKER_HOST": "127.0.0.1",
            "APPLIANCE_BROKER_PORT": str(self.mqtt_port),
            "APPLIANCE_WEB_HOST": "127.0.0.1",
            "APPLIANCE_WEB_PORT": "0",
            "APPLIANCE_WEB_API_RATE": "1000000",
            "APPLIANCE_WEB_API_BURST": "1000000",
            "APPLIANCE_LIMITS_RATE": "100000",
            "APPLIANCE_LIMITS_BURST": "100000",
            **(settings or {}),
        }
        self.from_scratch = False
        """Whether the first start has to make the database, as with a customer; else it finds an empty one."""
        self.prefix: tuple[str, ...] = ()
        """The command that starts the appliance, before its own."""
        self.module = "appliance"
        """What Python runs."""
        self.program = ROOT
        """The folder that it is in: this checkout, or a newer program (:mod:`tests.support.newer_program`)."""
        self.process: subprocess.Popen[bytes] | Forked | None = None
        self.run: dict[str, Any] = {}
        self.tenants: dict[str, dict[str, str]] = {}
        """Claim users of the tenants that ``tenant`` has made."""

    def environment(self, **extra: str) -> dict[str, str]:
        """Return the environment of the process: ours without settings of an appliance, then its own."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith(("APPLIANCE_", "EDGE_"))}
        return {**ours, **self.settings, **extra}

    def furnish(self) -> None:
        """Make the data folder, with an empty database."""
        self.data_dir.mkdir()
        subprocess.run(["cp", "-a", empty_cluster(), self.data_dir / "postgres"], check=True)

    def launch(self, **extra: str) -> None:
        """Start the process and return at once."""
        if not (self.from_scratch or self.data_dir.exists() or "APPLIANCE_DATABASE_URL" in self.settings):
            self.furnish()
        env = self.environment(**extra)
        with self.log.open("ab") as log, Path(os.devnull).open() as nothing:
            if self.from_scratch or self.prefix or self._must_be_new(env):
                self.process = subprocess.Popen(
                    [*self.prefix, sys.executable, "-m", self.module, "run"],
                    cwd=self.program,
                    env=env,
                    stdin=nothing,
                    stdout=log,
                    stderr=log,
                )
            else:
                self.process = fork_server.programs().start(
                    self.module, ["run"], env=env, stdin=nothing.fileno(), stdout=log.fileno(), stderr=log.fileno()
                )

    def start(self, **extra: str) -> None:
        """Start the process and return when it is ready."""
        self.launch(**extra)
        self.wait_ready()

    def wait_ready(self) -> None:
        """Return when the run file is there; fails when the process ends before."""
        assert self.process is not None
        deadline = time.monotonic() + READY_SECONDS
        while True:
            run = self.run_file()
            if run is not None and run["pid"] == self.process.pid:
                self.run = run
                return
            assert self.process.poll() is None, f"ended before it was ready:\n{self.tail()}"
            assert time.monotonic() < deadline, f"not ready in time:\n{self.tail()}"
            time.sleep(0.02)

    def run_file(self) -> dict[str, Any] | None:
        """Return what the appliance says of itself, or None while it is not ready."""
        try:
            found: dict[str, Any] = json.loads((self.seen_dir / "run.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        return found

    def kill(self) -> None:
        """Kill the process (-9) and wait for its end, not for that of its children."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 60) -> int:
        """Ask the process to stop, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout)

    def close(self) -> None:
        """Stop whatever still runs and remove the folder."""
        try:
            if self.process is not None and self.process.poll() is None:
                self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-6000:] if self.log.exists() else ""

    def conninfo(self, role: str = "appliance_ingest") -> str:
        """Return libpq's connection string for its database."""
        external = self.settings.get("APPLIANCE_DATABASE_URL")
        if external is not None:
            return Endpoint.external(external).conninfo(role)
        return f"host={self.run['socket_dir']}/postgres dbname=appliance user={role}"

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Return the rows of one statement, over a connection of its own."""
        with psycopg.connect(self.conninfo()) as connection:
            return connection.execute(statement.encode(), parameters).fetchall()

    def get(self, path: str) -> bytes:
        """Return the body of a GET on the dashboard, whatever its status."""
        try:
            with urllib.request.urlopen(f"{self.run['web_url']}{path}", timeout=20) as response:
                body: bytes = response.read()
                return body
        except urllib.error.HTTPError as error:
            with error:
                return error.read()

    def command(self, *arguments: str) -> Any:
        """Return what ``appliance ARGUMENTS --json`` prints; fails with its error."""
        done = self.invoke(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def invoke(self, *words: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run ``appliance WORDS`` to its end."""
        env = self.environment(**extra)
        if not self._must_be_new(env):
            return fork_server.programs().run("appliance", words, env=env, seconds=120)
        return subprocess.run(
            [sys.executable, "-m", "appliance", *words],
            cwd=self.program,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def tenant(self, tenant_id: str = "fleet", seats: int = 1000) -> dict[str, str]:
        """Return user and password of a tenant's claim user, which may speak for as many new devices as it has seats.

        The tenant is made the first time; ``tenant_id`` is the user name too.
        """
        if tenant_id not in self.tenants:
            with ThreadPoolExecutor(1) as elsewhere:  # in this thread there may be a loop already
                made = elsewhere.submit(trio.run, self._make_tenant, tenant_id, seats).result()
            self.tenants[tenant_id] = {"username": made.claim_username, "password": made.claim_password}
        return self.tenants[tenant_id]

    async def _make_tenant(self, tenant_id: str, seats: int) -> IssuedClaim:
        async with await connect(self.conninfo()) as connection:
            async with connection.transaction():
                made = await issue_tenant(connection, tenant_id)
                await sell(connection, seats, tenant_id=tenant_id, now=datetime.now(UTC))
                change = await broker_sync.this_change(connection)
            assert (
                await broker_sync.wait(broker_sync.only(connection), change, patience=broker_sync.PATIENCE)
                is not SyncStatus.PENDING
            )
            return made

    def set_up_link(self) -> str:
        """Return the set-up link that the console has shown last."""
        found: list[str] = SET_UP_LINK.findall(self.log.read_text())
        return found[-1]

    def set_up(self, organisation: str = "Acme") -> SetUp:
        """Become the operator of the organisation by the set-up link."""
        return set_up_by(self.set_up_link(), organisation)

    def _must_be_new(self, env: Mapping[str, str]) -> bool:
        """Return whether the program has to be started as customers start it, which takes a second more than a fork.

        So it is with another program, with a library preloaded, and where several share a database: each has another
        seed of ``hash()``.
        """
        return (
            self.program != ROOT
            or env.get("LD_PRELOAD") != os.environ.get("LD_PRELOAD")
            or "APPLIANCE_DATABASE_URL" in env
        )

    def children(self) -> list[int]:
        """Return the pids of processes that work on our data folder, without the appliance itself."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal() and (self.process is None or int(entry.name) != self.process.pid):
                try:
                    words = (entry / "cmdline").read_bytes().decode(errors="replace")
                except OSError:
                    continue
                if str(self.data_dir) in words:
                    found.append(int(entry.name))
        return found


@contextmanager
def started(settings: dict[str, str] | None = None) -> Iterator[ApplianceProcess]:
    """Start an appliance for the block, with its own Postgres and broker unless ``settings`` name others."""
    with closing(ApplianceProcess(settings)) as process:
        process.start()
        yield process


@functools.cache
def empty_cluster() -> Path:
    """Return a Postgres cluster with our schema and no rows: copying it is ten times as fast as making one."""
    maker = ApplianceProcess()
    maker.command("tenant", "list")
    return maker.data_dir / "postgres"


@pytest.fixture(scope="session", autouse=True)
def _remove_empty_cluster() -> Iterator[None]:
    """Remove the empty cluster with the session, if one was made."""
    yield
    if empty_cluster.cache_info().currsize:
        shutil.rmtree(empty_cluster().parents[1])


@pytest.fixture
def appliance() -> Iterator[ApplianceProcess]:
    """An appliance that is not started yet."""
    with closing(ApplianceProcess()) as process:
        yield process
