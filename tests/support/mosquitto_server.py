"""Real Mosquitto servers for tests: one shared by the session, and private ones that a test may kill."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.certificates import Certificate
from tests.support.server_process import ServerProcess

PROGRAM = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "/usr/sbin/mosquitto"
USER = "mosquitto"
START_SECONDS = 30.0
PORT_TRIES = 5

# All but debug, which would write a line a message.
LOG_TYPES = ("log_type error", "log_type warning", "log_type notice", "log_type information", "log_type subscribe")

RAISED_LIMITS = (
    "max_inflight_messages 65535",
    "max_queued_messages 1000000",
    "max_queued_bytes 0",
    "set_tcp_nodelay true",
)


class MosquittoServer(ServerProcess):
    """One broker in a folder of its own, on a private loopback port and, if wished, on a Unix socket.

    ``users`` (name -> password) makes a password file and refuses anonymous clients. ``config`` adds lines to
    the global part of its configuration. With a ``certificate`` it speaks TLS on ``tls_port`` as well, and demands
    certificates of ``client_ca`` there, if that is given. Ports stay the same over ``stop``/``kill`` and ``start``; so
    does the store when ``persistence`` is on, which ``stop`` saves. Its log is that since its last start.
    """

    title = "the broker"
    user = USER

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
        super().__init__("edge-mq-")
        self.host = "127.0.0.1"
        self.port = 0
        self.tls_port = 0
        self.unix_socket = str(self.directory / "mqtt.sock") if unix else None
        self._tcp = tcp
        self._persistence = persistence
        self._users = dict(users or {})
        self._config = tuple(config)
        if self._users:
            self._write_users()
        self._certificate = certificate
        self._client_ca = client_ca
        if certificate is not None:
            certificate.files(self.directory)
            (self.directory / "ca.pem").write_text(client_ca or certificate.pem)
        self._own(self.directory, *self.directory.iterdir())

    def start(self) -> None:
        """Start the broker and return once it accepts connections."""
        for _ in range(PORT_TRIES):
            fresh = self._tcp and not self.port
            if fresh:
                self.port = _free_port()
                self.tls_port = _free_port() if self._certificate is not None else 0
            self._launch()
            if self._becomes(self._reachable, time.monotonic() + START_SECONDS):
                return
            self.kill()
            if not fresh or "in use" not in self.log():
                break
            self.port = 0
        raise AssertionError(f"mosquitto did not start:\n{self.log()}")

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
        self._spawn([PROGRAM, "-c", str(config)], subprocess.DEVNULL)

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
