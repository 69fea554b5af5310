"""A real nginx in front of what a test serves."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin") or "/usr/sbin/nginx"
START_SECONDS = 20.0
POLL_SECONDS = 0.01
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def nginx(servers: str, *, ports: dict[str, int]) -> Iterator[None]:
    """Run nginx with these server blocks for the block. ``ports`` are those it listens on, by address."""
    with tempfile.TemporaryDirectory(prefix="edge-nginx-", dir="/tmp") as folder:
        paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in TEMPORARY)
        file = Path(folder, "nginx.conf")
        file.write_text(
            f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/log;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{paths}{servers}\n}}\n"
        )
        command = [PROGRAM, "-e", f"{folder}/log", "-p", folder, "-c", str(file)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                for address, port in ports.items():
                    _await(process, address, port, Path(folder, "log"))
                yield
            finally:
                process.kill()


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that is free now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as probe:
        return int(probe.getsockname()[1])


def _await(process: subprocess.Popen[bytes], address: str, port: int, log: Path) -> None:
    """Wait until nginx listens; fail with its log when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection((address, port), timeout=1).close()
        except OSError:
            time.sleep(POLL_SECONDS)
        else:
            return
    raise AssertionError(f"nginx does not listen on {address} port {port}:\n{log.read_text()}")
