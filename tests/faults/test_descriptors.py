"""Too few files may be opened, and many connections do nothing: readings and pages go on."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from appliance.children.polling import until
from tests.support.appliance_process import ApplianceProcess
from tests.support.publisher import TENANT, client, settled

FILES = 64
CONNECTIONS = 200
IDLERS = """
import socket, sys, time
host, port, number = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kept = []
for _ in range(number):
    try:
        kept.append(socket.create_connection((host, port), timeout=1))
    except OSError:
        pass
print("connected", flush=True)
time.sleep(60)
"""


@contextmanager
def idle_connections(appliance: ApplianceProcess) -> Iterator[None]:
    """Open connections to the dashboard from another process, which has files enough, and leave them idle."""
    port = appliance.run["web_url"].rpartition(":")[2]
    argv = [sys.executable, "-c", IDLERS, "127.0.0.1", port, str(CONNECTIONS)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as idlers:
        assert idlers.stdout is not None
        assert idlers.stdout.readline() == b"connected\n"
        yield
        idlers.send_signal(signal.SIGKILL)


async def test_with_few_files_idle_connections_stop_nothing(appliance: ApplianceProcess) -> None:
    appliance.prefix = ("prlimit", f"--nofile={FILES}:{FILES}", "--")
    appliance.start()
    children = sorted(appliance.children())
    async with client(appliance, "sender") as connection:
        with idle_connections(appliance):
            for number in range(50):
                await connection.publish(f"tenant/{TENANT}/device/d/telemetry", b'{"n":%d}' % number)
            await settled(appliance, 50)
            with trio.fail_after(30):
                await until(lambda: _answers(appliance), period=0.1)
    assert appliance.process is not None
    assert len([*Path(f"/proc/{appliance.process.pid}/fd").iterdir()]) < FILES
    assert sorted(appliance.children()) == children, "no child was restarted"
    assert appliance.stop() == 0
    assert "Traceback" not in appliance.log.read_text()


def _answers(appliance: ApplianceProcess) -> bool:
    """Return whether a page comes: places are free again once idle connections are closed."""
    try:
        return b"ready" in appliance.get("/readyz")
    except OSError:
        return False
