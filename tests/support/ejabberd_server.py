"""Real ejabberd servers for tests: a second, independent broker for MQTT 5, in a folder of its own.

Erlang is started without a node name, so that it neither listens for other nodes nor starts epmd. What needs
``ejabberdctl``, such as making a user, is told to it at its start. The same configuration suits 23.01 and 24.12, the
versions of Debian 12 and 13.
"""

import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.certificates import Certificate
from tests.support.server_process import ServerProcess

START_SECONDS = 60.0
PORT_TRIES = 5
HOST = "127.0.0.1"
PATH = "/mqtt"
"""Of WebSockets."""
ANYBODY = {"username": "somebody", "password": "of no account"}
"""Whoever has no account: ejabberd 23.01 refuses those who give no password."""

FRUGAL = ("+S", "1:1", "+SDio", "1", "+sbwt", "none", "+sbwtdio", "none", "+A", "1")
"""One thread that runs Erlang's processes, and none that waits busily: tests share the machine."""


class EjabberdServer(ServerProcess):
    """One broker on private loopback ports, which stay the same over ``stop`` or ``kill`` and ``start``.

    Its sessions are in its memory alone; what is retained is on disk. ``users`` (name -> password) are its accounts;
    by any other name comes in whoever gives a password. ``listener`` are the options of its listeners,
    ``access_rules`` what the options name. ``port`` is that for MQTT over TCP, 0 any. A certificate makes it listen
    with TLS too. ``stop`` takes it a second, and says nothing to its clients; its helper processes end with it. Its log
    is what it wrote since its last start.
    """

    title = "ejabberd"
    user = "ejabberd"
    log_name = "output"
    poll_seconds = 0.01

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        options: Mapping[str, Any] | None = None,
        listener: Mapping[str, Any] | None = None,
        access_rules: Mapping[str, Any] | None = None,
        certificate: Certificate | None = None,
        port: int = 0,
    ) -> None:
        super().__init__("edge-ejabberd-")
        self.host = HOST
        self._wanted = port
        self.port = self.websocket_port = self.tls_port = self.tls_websocket_port = 0
        self._users = dict(users or {})
        self.options = dict(options or {})
        """Of ``mod_mqtt``, from the next start on."""
        self._listener = dict(listener or {})
        self._access_rules = dict(access_rules or {})
        self._certificate = certificate
        if certificate is not None:
            (self.directory / "certificate.pem").write_text(certificate.pem + certificate.key_pem)

    def url(self, scheme: str) -> str:
        """Return its address by ``mqtt``, ``mqtts``, ``ws`` or ``wss``."""
        ports = {
            "mqtt": f"{self.port}",
            "mqtts": f"{self.tls_port}",
            "ws": f"{self.websocket_port}{PATH}",
            "wss": f"{self.tls_websocket_port}{PATH}",
        }
        return f"{scheme}://localhost:{ports[scheme]}"

    def start(self) -> None:
        """Start the broker and return once it accepts connections."""
        fresh = not self.port
        for _ in range(PORT_TRIES):
            if fresh:
                self._choose_ports()
            self._launch()
            if self._becomes(self._ready, time.monotonic() + START_SECONDS):
                return
            self.kill()
            if not fresh or "in use" not in self.log():
                break
        raise AssertionError(f"ejabberd did not start:\n{self.log()}")

    def _choose_ports(self) -> None:
        probes = [socket.create_server((HOST, 0)) for _ in range(4)]
        ports = [int(probe.getsockname()[1]) for probe in probes]
        for probe in probes:
            probe.close()
        self.port, self.websocket_port, self.tls_port, self.tls_websocket_port = ports
        self.port = self._wanted or self.port

    def _ports(self) -> tuple[int, ...]:
        plain = (self.port, self.websocket_port)
        return plain if self._certificate is None else (*plain, self.tls_port, self.tls_websocket_port)

    def _listeners(self) -> list[dict[str, Any]]:
        def raw(port: int, **more: Any) -> dict[str, Any]:
            return {"port": port, "ip": HOST, "module": "mod_mqtt", **self._listener, **more}

        def websocket(port: int, **more: Any) -> dict[str, Any]:
            return {"port": port, "ip": HOST, "module": "ejabberd_http", "request_handlers": {PATH: "mod_mqtt"}, **more}

        listeners = [raw(self.port), websocket(self.websocket_port)]
        if self._certificate is not None:
            listeners += [raw(self.tls_port, tls=True), websocket(self.tls_websocket_port, tls=True)]
        return listeners

    def _configuration(self) -> str:
        """Return its configuration: JSON, which is YAML."""
        made = {
            "hosts": ["localhost"],
            "loglevel": "info",
            "log_rotate_count": 0,
            "acme": {"auto": False},
            "auth_method": ["internal", "anonymous"],
            "anonymous_protocol": "login_anon",
            "allow_multiple_connections": True,
            "access_rules": self._access_rules,
            "listen": self._listeners(),
            "modules": {"mod_mqtt": self.options},
        }
        if self._certificate is not None:
            made["certfiles"] = [str(self.directory / "certificate.pem")]
        return json.dumps(made, indent=1)

    def _told_at_start(self) -> str:
        """Return what it does once it runs: make its accounts unless they are there, and say that it is ready."""
        accounts = [
            f'ejabberd_auth:try_register(<<"{name}">>, <<"localhost">>, <<"{password}">>)'
            for name, password in self._users.items()
        ]
        kept = ["mnesia:dump_log()"] if accounts else []  # else a kill takes them
        return ", ".join([*accounts, *kept, f'ok = file:write_file("{self.directory}/ready", "")']) + "."

    def _launch(self) -> None:
        told = self._told_at_start()
        (self.directory / "ejabberd.yml").write_text(self._configuration())
        for name in ("ready", self.log_name):
            (self.directory / name).unlink(missing_ok=True)
        self._own(self.directory, *self.directory.iterdir())
        environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": str(self.directory),
            "ERL_LIBS": str(_libraries()),
            "ERL_CRASH_DUMP_BYTES": "0",
            "EJABBERD_CONFIG_PATH": str(self.directory / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.directory / "log"),
        }
        spool = f'"{self.directory}/spool"'
        with (self.directory / self.log_name).open("wb") as output:
            program = ["erl", "-noinput", *FRUGAL, "-mnesia", "dir", spool, "-s", "ejabberd", "-eval", told]
            self._spawn(program, output, environment)

    def _ready(self) -> bool:
        return (self.directory / "ready").exists() and all(_reachable(port) for port in self._ports())


def _libraries() -> Path:
    """Return the folder with ejabberd's own library, which Debian keeps away from Erlang's."""
    found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app"))
    assert found, "ejabberd was not found: `apt-get install ejabberd`"
    return found[-1].parents[2]


def _reachable(port: int) -> bool:
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True
