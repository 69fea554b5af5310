"""The broker's limit: ``mosquitto_sub`` on a private broker that has the appliance's own rendered configuration."""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from mqtt5 import ConnectPacket, PubAckPacket, PubAckReasonCode, PublishPacket, QoS

from appliance.broker.accounts import hash_password, new_secret
from appliance.children.account import child_account
from appliance.children.mosquitto_files import Users, password_file
from appliance.mqtt.framing import Framing
from benchmarks.appliance_process import Credential
from benchmarks.load import ANSWER_SECONDS

FILTER = "tenant/+/device/+/+"
READER = Credential("appliance", "reader")
PROGRAM = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
POLL_SECONDS = 0.01


class Subscription:
    """One ``mosquitto_sub`` that ends by itself after ``count`` messages."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    def ended(self) -> float:
        """Wait for its end; return it in seconds since 1970."""
        if self._process.wait(120):
            raise SystemExit(f"mosquitto_sub ended with {self._process.returncode}")
        return time.time()


class PrivateBroker:
    """A Mosquitto like the appliance's in all but its addresses, its store and its passwords."""

    def __init__(self, folder: Path, rendered: Path, device: Credential) -> None:
        self.host = "127.0.0.1"
        self.port = _free_port()
        self._socket = folder / "mosquitto.sock"
        self._device = device
        self._account = child_account("mosquitto", package="mosquitto")
        folder.mkdir(mode=0o755)
        users = Users(f"{device.username}:{hash_password(device.password)}\n")
        files = {
            "passwd": password_file(hash_password(READER.password), hash_password(new_secret()), users),
            "acl": (rendered / "acl").read_text(),
            "mosquitto.conf": self._moved((rendered / "mosquitto.conf").read_text(), rendered, folder),
        }
        for name, text in files.items():
            (folder / name).write_text(text)
            (folder / name).chmod(0o600)
        if self._account is not None:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, self._account.name, self._account.name)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._subscriber: subprocess.Popen[bytes] | None = None

    def _moved(self, configuration: str, rendered: Path, folder: Path) -> str:
        text = configuration.replace(f"{rendered}/", f"{folder}/").replace("log_type debug\n", "")
        text, devices = re.subn(r"(?m)^listener [1-9]\d* .*$", f"listener {self.port} {self.host}", text)
        text, private = re.subn(r"(?m)^listener 0 .*$", f"listener 0 {self._socket}", text)
        if not devices == private == 1:
            raise SystemExit("the appliance's mosquitto.conf has not the two listeners that are expected")
        return text

    def __enter__(self) -> Self:
        account = self._account
        self._process = subprocess.Popen(
            [PROGRAM, "-c", str(self._folder / "mosquitto.conf")],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            user=None if account is None else account.uid,
            group=None if account is None else account.gid,
            extra_groups=None if account is None else account.groups,
        )
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._socket.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the private broker did not start")
            time.sleep(POLL_SECONDS)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in (self._subscriber, self._process):
            if process is not None:
                process.kill()
                process.wait()

    def subscribe(self, count: int) -> Subscription:
        """Start ``mosquitto_sub`` for the next ``count`` messages; returns once the broker knows it."""
        options = ["-V", "5", "-q", "1", "-D", "connect", "receive-maximum", "4096"]
        address = ["--unix", str(self._socket), "-u", READER.username, "-P", READER.password]
        self._subscriber = process = subprocess.Popen(
            # one more: the message that found it subscribed
            ["mosquitto_sub", *options, *address, "-t", FILTER, "-C", str(count + 1)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self._has_subscriber():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("mosquitto_sub did not subscribe")
            time.sleep(POLL_SECONDS)
        return Subscription(process)

    def _has_subscriber(self) -> bool:
        """Publish one message: over MQTT 5 the broker tells whether anybody was there (§3.4.2.1)."""
        user = self._device
        connect = ConnectPacket("bench-probe", username=user.username, password=user.password.encode())
        publish = PublishPacket(
            f"tenant/{user.username}/device/probe/telemetry", b"{}", qos=QoS.AT_LEAST_ONCE, packet_id=1
        )
        framing = Framing()
        with socket.create_connection((self.host, self.port), ANSWER_SECONDS) as connection:
            connection.sendall(connect.write() + publish.write())
            while data := connection.recv(4096):
                packets, _ = framing.feed(data)
                for packet in packets:
                    if isinstance(packet, PubAckPacket):
                        return packet.reason_code is not PubAckReasonCode.NO_MATCHING_SUBSCRIBERS
        raise SystemExit("the private broker refused the probe")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
