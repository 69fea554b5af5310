"""Real Mosquitto servers for tests: one shared by the session, and private ones that a test may kill."""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.certificates import Certificate

PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "/usr/sbin/mosquitto"
USER = "mosquitto"
START_SECONDS = 30.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.005
PORT_TRIES = 5

# All but debug, which would write a line a message.
LOG_TYPES = ("log_type error", "log_type warning", "log_type notice", "log_type information", "log_type subscribe")

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

RAISED_LIMITS = (
    "max_inflight_messages 65535",
    "max_queued_messages 1000000",
    "max_queued_bytes 0",
    "set_tcp_nodelay true",
)


class MosquittoServer:
    """One broker in a folder of its own, on a private loopback port and, if wished, on a Unix socket.

    ``users`` (name -> password) makes a password file and refuses anonymous clients. ``config`` adds lines to
    the global part of its configuration. With a ``certificate`` it speaks TLS on ``tls_port`` as well, and demands
    certificates of ``client_ca`` there, if that is given. Started as root it runs as the user ``mosquitto``. Ports stay
    the same over ``stop``/``kill`` and ``start``; so does the store when ``persistence`` is on.
    """

    def __init__(
        self,
        *,
        tcp: bool = True,
        unix: bool = False,
        persistence: bool = False,
        users: Mapping[str, str] | None = None,
        config: Sequence[str] = (),
        certificate: Certificate | None = None,
        client_ca: str | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self.port = 0
        self.tls_port = 0
        self.directory = Path(tempfile.mkdtemp(prefix="edge-mq-", dir="/tmp"))
        self.unix_socket = str(self.directory / "mqtt.sock") if unix else None
        self._tcp = tcp
        self._persistence = persistence
        self._users = dict(users or {})
        self._config = tuple(config)
        self._process: subprocess.Popen[bytes] | None = None
        self.directory.chmod(0o755)
        if self._users:
            self._write_users()
        self._certificate = certificate
        self._client_ca = client_ca
        if certificate is not None:
            certificate.files(self.directory)
            (self.directory / "ca.pem").write_text(client_ca or certificate.pem)
        self._own(self.directory, *self.directory.iterdir())

    @property
    def pid(self) -> int:
        """Process id of the running broker."""
        assert self._process is not None, "the broker is not running"
        return self._process.pid

    def start(self) -> None:
        """Start the broker and return once it accepts connections."""
        for _ in range(PORT_TRIES):
            fresh = self._tcp and not self.port
            if fresh:
                self.port = _free_port()
                self.tls_port = _free_port() if self._certificate is not None else 0
            self._launch()
            if self._accepts():
                return
            self.kill()
            if not fresh or "in use" not in self.log():
                break
            self.port = 0
        raise AssertionError(f"mosquitto did not start:\n{self.log()}")

    def stop(self) -> None:
        """SIGTERM: the broker says goodbye to its clients and saves its store."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL: nothing is said and nothing is saved."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop politely and start again on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT after ``pause``."""
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        """What the broker wrote since its last start."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def close(self) -> None:
        """Kill the broker and remove its folder."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _own(self, *paths: Path) -> None:
        if os.geteuid() == 0:
            for path in paths:
                shutil.chown(path, USER, USER)

    def _write_users(self) -> None:
        path = self.directory / "passwords"
        path.write_text("".join(f"{name}:{password}\n" for name, password in self._users.items()))
        subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True)
        path.chmod(0o600)

    def _configuration(self) -> str:
        lines = [*RAISED_LIMITS, *self._config, f"persistence {'true' if self._persistence else 'false'}"]
        if self._persistence:
            lines += [f"persistence_location {self.directory}/", "autosave_interval 1"]
        lines += [f"log_dest file {self.directory}/log", *LOG_TYPES]
        lines.append(f"allow_anonymous {'false' if self._users else 'true'}")
        if self._users:
            lines.append(f"password_file {self.directory}/passwords")
        if self._tcp:
            lines.append(f"listener {self.port} {self.host}")
        if self.unix_socket is not None:
            lines.append(f"listener 0 {self.unix_socket}")
        if self._certificate is not None:
            lines += [f"listener {self.tls_port} {self.host}", f"cafile {self.directory}/ca.pem"]
            lines += [f"certfile {self.directory}/certificate.pem", f"keyfile {self.directory}/key.pem"]
            lines.append(f"require_certificate {'true' if self._client_ca else 'false'}")
        return "\n".join(lines) + "\n"

    def _launch(self) -> None:
        config = self.directory / "mosquitto.conf"
        config.write_text(self._configuration())
        (self.directory / "log").unlink(missing_ok=True)
        # A broker that was killed leaves its socket file behind, and a new one cannot bind over it.
        if self.unix_socket is not None:
            Path(self.unix_socket).unlink(missing_ok=True)
        root = os.geteuid() == 0
        self._process = subprocess.Popen(
            [PROGRAM, "-c", str(config)],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - a test process starts its servers from its only thread
            user=USER if root else None,
            group=USER if root else None,
            extra_groups=[] if root else None,
        )

    def _accepts(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                return False
            if self._reachable():
                return True
            time.sleep(POLL_SECONDS)
        return False

    def _reachable(self) -> bool:
        try:
            if self._tcp:
                socket.create_connection((self.host, self.port), timeout=1).close()
            if self.unix_socket is not None:
                with socket.socket(socket.AF_UNIX) as probe:
                    probe.connect(self.unix_socket)
        except OSError:
            return False
        return True

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)  # a paused broker would not notice SIGTERM
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> None:
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="session")
def mosquitto() -> Iterator[MosquittoServer]:
    """The broker of the test session: anonymous, on TCP and Unix socket, raised limits, nothing saved.

    It is shared: use topics and client identifiers of your own, and never stop it (start a private
    ``MosquittoServer`` for that).
    """
    with MosquittoServer(unix=True) as server:
        yield server
