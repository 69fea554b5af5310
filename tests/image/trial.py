"""``make image ROOTFS=DIR``: the built image is started locked down, used, stopped, restarted under load; with figures.

ROOTFS is the image's root file system, as an engine exports it; docs/contributing.md says how. BASE may name the one of
its base image: then the size is told beside it. The first claim that does not hold ends the trial with an error.
"""

import ctypes
import fcntl
import hashlib
import json
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import trio

from appliance.backoff import Backoff
from appliance.config import Log
from appliance.logs import configure
from appliance.mqtt.client import Client
from tests.image import content
from tests.image.box import Box
from tests.image.dockerfile import read_dockerfile
from tests.support.appliance_process import SET_UP_LINK, SetUp, set_up_by

CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP = 0x40000000, 0x8914, 0x1
WEB = "https://127.0.0.1:8080"
READY_SECONDS = 90.0
IDLE_SECONDS = 10.0
"""Seconds after which a started appliance counts as idle."""
LOAD = 3000
"""Messages that are sent while it is stopped and started."""
SETTINGS = {"APPLIANCE_LIMITS_RATE": "100000", "APPLIANCE_LIMITS_BURST": "100000"}
MIB = 2**20
IDLE_MEMORY = 250 * MIB


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def claim(holds: bool, what: str, but: object = "") -> None:
    """Print a claim that holds; end the trial with what is wrong where it does not."""
    if not holds:
        raise SystemExit(f"FAILED  {what}: {but}")
    say(f"ok      {what}")


def figure(what: str, value: str) -> None:
    """Print something measured."""
    say(f"        {what}: {value}")


def leave_the_network() -> None:
    """Move this process into a network of its own, so that the usual ports are free and nothing else is there."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise SystemExit(f"error: the trial needs root and namespaces: {os.strerror(ctypes.get_errno())}")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP))


def until(found: Callable[[], bool], box: Box, what: str) -> float:
    """Wait for something of the box, and return the seconds that it took."""
    began = time.monotonic()
    while not found():
        claim_alive = time.monotonic() - began < READY_SECONDS and Path(f"/proc/{box.first}").exists()
        if not claim_alive:
            raise SystemExit(f"FAILED  {what}:\n{box.tail()}")
        time.sleep(0.05)
    return time.monotonic() - began


def ready(box: Box) -> float:
    """Wait until the box is ready, and return the seconds that it took."""
    return until((box.data / "run.json").exists, box, "it becomes ready")


def stop(box: Box) -> None:
    """Stop the box; nothing of it is left."""
    ended = box.stop()
    claim(ended.code == 0, f"the stop signal ends it with exit code 0, in {ended.seconds:.1f} s", box.tail())
    claim(ended.seconds < 5, "within 5 seconds", ended.seconds)
    left = [
        name
        for name in ("run.json", "sockets", "postgres/postmaster.pid")
        if (box.data / name).is_symlink() or (box.data / name).exists()
    ]
    claim(not left, "Postgres and Mosquitto were stopped before, and nothing temporary is left", left)


def is_locked_down(box: Box) -> None:
    """Check rights, ports and places of the running box."""
    for process in box.processes():
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        rights = {name: status[name] for name in ("CapEff", "CapPrm", "CapBnd", "CapAmb")}
        good = set(rights.values()) == {"0" * 16} and status["NoNewPrivs"] == "1"
        if not (good and set(status["Uid"].split()) == {"10001"}):
            claim(False, "no process is root or has a right", f"{status['Name']} {status['Uid']} {rights}")
    claim(True, f"none of its {len(box.processes())} processes is root or has a capability")
    refused = [
        place
        for place in ("/", "/etc", "/opt/appliance", "/usr/bin", "/var/tmp", "/run")
        if box.run("touch", f"{place}/x").returncode
    ]
    claim(len(refused) == 6, "nothing but the volume and /tmp can be written", refused)
    opened = content.listening()
    claim(opened == {1883, 8080, 8883}, "from outside, ports 1883, 8080 and 8883 are open and no other", opened)
    figure("in /tmp", ", ".join(box.run("ls", "/tmp").stdout.split()))


def is_idle(box: Box) -> None:
    """Measure memory and processes of the box at rest."""
    time.sleep(IDLE_SECONDS)
    pss = sum(content.memory(process) for process in box.processes())
    threads = sum(len(list((process / "task").iterdir())) for process in box.processes())
    claim(pss < IDLE_MEMORY, f"at rest it takes {pss / MIB:.0f} MiB", f"more than {IDLE_MEMORY / MIB:.0f}")
    figure("at rest", f"{len(box.processes())} processes, {threads} threads")


def first_message(box: Box, folder: Path) -> SetUp:
    """Set it up by its link, publish under TLS the message that the page shows, and see it on the device's page.

    ``folder`` takes the CA, which all of it is checked with.
    """
    link = SET_UP_LINK.findall(box.log.read_text())[-1]
    made = set_up_by(link, "Acme")
    claim(link.startswith("https:"), "the set-up link of the log leads through the set-up, under TLS", link)
    ca = httpx.get(f"{WEB.replace('https:', 'http:')}/ca.crt", timeout=20)
    (folder / "ca.crt").write_bytes(ca.content)
    own = ssl.PEM_cert_to_DER_cert(ca.text)
    shown = re.sub(r"[^0-9A-F]", "", box.run("appliance", "ca").stdout)
    claim(
        hashlib.sha256(own).hexdigest().upper() in shown, "the CA has the fingerprint that `appliance ca` shows", shown
    )
    sent = subprocess.run(made.mosquitto, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    claim("8883" in made.mosquitto and sent.returncode == 0, "the broker takes a message under TLS", sent.stderr)
    trusting = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    with httpx.Client(cookies=made.cookies, timeout=20, verify=trusting) as browser:
        until(lambda: "21.5" in browser.get(f"{WEB}/devices/first?tenant=acme").text, box, "the page shows the reading")
    claim(True, "the page shows the reading, over https with the CA")
    return made


async def restarted_under_load(box: Box, made: SetUp) -> None:
    """Stop and start the box while a device sends; every message must be there, once."""
    words = made.mosquitto
    user, password = words[words.index("-u") + 1], words[words.index("-P") + 1]
    topic = words[words.index("-t") + 1]
    device = Client(
        "127.0.0.1",
        1883,
        identifier="load",
        username=user,
        password=password,
        session_expiry_interval=3600,
        keep_trying=True,
        backoff=Backoff(first=0.05, maximum=0.2),
    )

    async def send() -> None:
        for start in range(0, LOAD, 50):
            await client.publish_many([(topic, b'{"seq":%d,"load":1}' % seq) for seq in range(start, start + 50)])
            await trio.sleep(0.05)

    async with device as client, trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(1)
        await trio.to_thread.run_sync(stop, box)
        box.start()
        figure("ready again", f"{await trio.to_thread.run_sync(ready, box):.1f} s")
    await trio.to_thread.run_sync(all_are_there, box)


def all_are_there(box: Box) -> None:
    """Check that each message of the load was stored once."""
    query = "SELECT count(*), count(DISTINCT seq) FROM telemetry WHERE metrics ? 'load'"

    def stored() -> str:
        return box.run("appliance", "psql", "-At", "-c", query).stdout.strip()

    until(lambda: stored().startswith(str(LOAD)), box, "all messages are stored")
    claim(stored() == f"{LOAD}|{LOAD}", "restarted under load, it has stored each message once", stored())


def main() -> None:
    """Try the image whose root file system is the first argument, on its base, the second one if there is any."""
    root, base = (Path(text) if text else None for text in [*sys.argv[1:], "", ""][:2])
    if root is None or not (root / "opt/appliance").is_dir() or os.geteuid() != 0:
        raise SystemExit("error: as root, name the image's root file system: make image ROOTFS=DIR")
    configure(Log(level="error"), sys.stderr)
    image = read_dockerfile()[-1]
    figure("size", content.size(root, base))
    claim(not (found := content.with_other_rights(root)), "no file runs with the rights of another user", found)
    claim(not (found := content.compilers(root)), "there is no compiler", found)
    claim(not (found := content.private_keys(root)), "there is no private key", found)
    claim(not (found := content.secrets(root)), "there is no other secret", found)
    listed = content.bill_of_materials(root)
    complete = not listed["without version"] + listed["of Python without licence or hash"]
    claim(complete, "the bill of materials names every package of Debian and Python", listed)
    figure("bill of materials", ", ".join(f"{number} {what}" for what, number in listed.items()))
    leave_the_network()
    with tempfile.TemporaryDirectory(prefix="appliance-image-") as folder:
        Path(folder).chmod(0o755)
        box = Box(root, Path(folder), image, SETTINGS)
        try:
            began = time.monotonic()
            box.start()
            alive = began + until(lambda: box.run(*image.command("HEALTHCHECK")).returncode == 0, box, "it is alive")
            ready(box)
            figure(
                "healthy", f"{alive - began:.1f} s after its first start, ready after {time.monotonic() - began:.1f} s"
            )
            is_locked_down(box)
            made = first_message(box, Path(folder))
            is_idle(box)
            claim(box.run(*image.command("HEALTHCHECK")).stdout == "alive\n", "the health check finds it alive")
            trio.run(restarted_under_load, box, made)
            stop(box)
            figure("data folder", json.dumps(sorted(entry.name for entry in box.data.iterdir())))
        finally:
            box.close()


if __name__ == "__main__":
    main()
