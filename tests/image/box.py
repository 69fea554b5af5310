"""A container without an engine: namespaces around a root file system, locked down as compose.yaml has it.

The root file system is read-only, /tmp is small, no program in it may become another user or has a capability, and the
appliance is process 1, as a container engine starts it. Needs root, and util-linux.
"""

import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from tests.image.dockerfile import BuildStage
from tests.image.plain_yaml import read
from tests.support.project import ROOT

DEVICES = "null zero full random urandom tty"
MOUNT_AND_RUN = f"""
set -e
mount --make-rprivate /
mount --bind "$BOX_ROOT" "$BOX_ROOT"
mount -t proc -o nosuid,nodev,noexec proc "$BOX_ROOT/proc"
mount -t tmpfs -o mode=755,size=64k,nosuid,noexec dev "$BOX_ROOT/dev"
for device in {DEVICES}; do : >"$BOX_ROOT/dev/$device"; mount --bind "/dev/$device" "$BOX_ROOT/dev/$device"; done
mkdir "$BOX_ROOT/dev/shm"
mount -t tmpfs -o "mode=1777,size=$BOX_SHM,nosuid,nodev,noexec" shm "$BOX_ROOT/dev/shm"
mount -t tmpfs -o "$BOX_TMP" tmp "$BOX_ROOT/tmp"
mount --bind "$BOX_DATA" "$BOX_ROOT$BOX_VOLUME"
mount -o remount,bind,nosuid,nodev "$BOX_ROOT$BOX_VOLUME"
mount -o remount,bind,ro,nosuid,nodev "$BOX_ROOT"
exec chroot "$BOX_ROOT" "$@"
"""
NAMESPACES = ("--mount", "--pid", "--ipc", "--uts")
START_SECONDS, STOP_SECONDS = 30.0, 60.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """The end of a box: the exit code of process 1, and the seconds that it took."""

    code: int
    seconds: float


class Box:
    """One root file system with one data folder, to be started and stopped again and again."""

    def __init__(self, root: Path, folder: Path, image: BuildStage, settings: dict[str, str]) -> None:
        """``folder`` takes data and log; ``settings`` are variables beside those of the image."""
        self.root, self.data, self.log = root, folder / "data", folder / "log"
        self._image, self._settings = image, settings
        self._service = read((ROOT / "compose.yaml").read_text())["services"]["appliance"]
        self._user, self._group = image.only("USER").split(":")
        self._process: subprocess.Popen[bytes] | None = None
        self.first = 0
        """The process 1 of the box, by its number out here."""
        self.data.mkdir(mode=0o700)
        os.chown(self.data, int(self._user), int(self._group))

    def start(self) -> None:
        """Start the command of the image; return once process 1 is there."""
        [tmp] = self._service["tmpfs"]
        places = {
            "BOX_ROOT": str(self.root),
            "BOX_DATA": str(self.data),
            "BOX_VOLUME": self._image.only("VOLUME"),
            "BOX_TMP": tmp.partition(":")[2],
            "BOX_SHM": self._service["shm_size"],
        }
        enter = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--", "sh", "-c", MOUNT_AND_RUN, "sh"]
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]  # more than we have ourselves we cannot give
        limit = f"--nofile={min(self._service['ulimits']['nofile'], most)}"
        command = ["prlimit", limit, "--", *enter, *self._as_user(self._image.command("CMD"))]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env={**os.environ, **places}, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self.first = self._find_first(self._process)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the box, with its user and its rights, as ``docker exec`` does."""
        enter = ["nsenter", "--target", str(self.first), *NAMESPACES, "--root", "--"]
        return subprocess.run(
            [*enter, *self._as_user(command)], capture_output=True, text=True, check=False, timeout=60
        )

    def stop(self) -> Stopped:
        """Send the stop signal of the image to process 1, and wait for its end."""
        assert self._process is not None
        began = time.monotonic()
        os.kill(self.first, signal.Signals[self._image.only("STOPSIGNAL")])
        code = self._process.wait(STOP_SECONDS)
        return Stopped(code, time.monotonic() - began)

    def close(self) -> None:
        """Kill whatever still runs in it."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def processes(self) -> list[Path]:
        """Return the folders in /proc of all processes in the box."""
        own = Path(f"/proc/{self.first}/ns/pid").readlink()
        return [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal() and _is_in(entry, own)]

    def tail(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-4000:]

    def _as_user(self, command: list[str] | tuple[str, ...]) -> list[str]:
        variables = {**self._image.pairs("ENV"), **self._service["environment"], **self._settings}
        variables["PATH"] = variables["PATH"].replace(
            "$PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        )
        environment = ["env", "-C", self._image.only("WORKDIR"), "-i", *(f"{k}={v}" for k, v in variables.items())]
        rights = ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"]
        become = ["setpriv", "--reuid", self._user, "--regid", self._group, "--clear-groups", *rights, "--"]
        return [*environment, *become, *command]

    def _find_first(self, process: "subprocess.Popen[bytes]") -> int:
        """Return the number of the process that unshare has forked, once it runs the image's command."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        program = self._image.command("CMD")[0]
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            found = children.read_text().split()
            words = Path(f"/proc/{found[0]}/cmdline").read_text() if found else ""
            if program in words and "setpriv" not in words:
                return int(found[0])
            time.sleep(0.01)
        raise AssertionError(f"the command of the image does not run:\n{self.tail()}")


def _is_in(entry: Path, namespace: Path) -> bool:
    try:
        return (entry / "ns/pid").readlink() == namespace
    except OSError:
        return False
