"""``make binary ROOTFS=DIR``: the single file is started on a clean Debian, used, and stopped.

ROOTFS is the root file system of a Debian with Postgres and Mosquitto, without Python; docs/single-file.md says how to
make one. It is entered as the trial of the image does it: as process 1, read-only but for one folder, /tmp mounted
noexec, as a user with no rights. The first claim that does not hold ends the trial with an error.
"""

import json
import os
import sys
import tempfile
import time
import zipfile
from io import BytesIO
from pathlib import Path

import httpx

from appliance.config import Log
from appliance.logs import configure
from release.notices import pinned
from tests.image import content
from tests.image.box import Box
from tests.image.dockerfile import BuildStage
from tests.image.trial import claim, figure, leave_the_network, until
from tests.support.appliance_process import SET_UP_LINK, SetUp, set_up_by
from tests.support.project import ROOT

FILE = ROOT / "dist" / "appliance"
PROGRAM = "/usr/local/bin/appliance"
VOLUME = "/srv"
WEB = "http://127.0.0.1:8080"
DAEMON = "1:1"
"""A user and a group that every Debian has."""
STAGE = BuildStage(
    "",
    (
        ("USER", DAEMON),
        ("VOLUME", VOLUME),
        ("WORKDIR", VOLUME),
        ("STOPSIGNAL", "SIGTERM"),
        ("CMD", f'["{PROGRAM}", "run"]'),
        ("ENV", f"PATH=$PATH LANG=C.UTF-8 APPLIANCE_DATA_DIR={VOLUME}/data"),
    ),
)
TOO_LITTLE_SECONDS = 60.0


def says_what_to_set(root: Path, folder: Path) -> None:
    """Check what the file says where no program starts from any place that it tries."""
    box = Box(root, folder, STAGE, {})
    try:
        box.start()
    except AssertionError:
        pass  # it was faster than the look for its first process
    finally:
        deadline = time.monotonic() + TOO_LITTLE_SECONDS
        while "APPLIANCE_UNPACK_DIR" not in box.tail() and time.monotonic() < deadline:
            time.sleep(0.05)
        box.close()
    claim(
        "Set APPLIANCE_UNPACK_DIR to a folder" in box.tail(), "with no place to unpack it says what to set", box.tail()
    )


def first_message(box: Box) -> SetUp:
    """Set it up by the link of its log, publish a message, and see it on the device's page."""
    made = set_up_by(SET_UP_LINK.findall(box.log.read_text())[-1], "Acme")
    claim(True, "the set-up link of the log leads through the set-up")
    claim(os.spawnvp(os.P_WAIT, made.mosquitto[0], made.mosquitto) == 0, "the broker takes a message over MQTT")
    with httpx.Client(cookies=made.cookies, timeout=20) as browser:
        until(lambda: "21.5" in browser.get(f"{WEB}/devices/first?tenant=acme").text, box, "the page shows the reading")
    claim(True, "the page shows the reading")
    return made


def children_have_their_own_libraries(box: Box) -> None:
    """Check that no process but ours has a library of the file, or its search path."""
    others = [process for process in box.processes() if not _is_ours(process)]
    names = {(process / "comm").read_text().strip() for process in others}
    claim({"postgres", "mosquitto"} <= names, "Postgres and Mosquitto of the system run", names)
    leaks = [
        (process / "comm").read_text().strip()
        for process in others
        if b"LD_LIBRARY_PATH" in (process / "environ").read_bytes() or "/_internal/" in (process / "maps").read_text()
    ]
    claim(not leaks, "none of them has loaded a library of the file", leaks)
    done = box.run(PROGRAM, "psql", "-Atc", "SELECT count(*) FROM telemetry")
    claim(done.stdout.strip() == "1", "the psql of the system runs below it", done)


def _is_ours(process: Path) -> bool:
    return (process / "exe").readlink().name == "appliance"


def commands_find_it(box: Box) -> None:
    """Check that commands find the running appliance, and time zones where the system has none."""
    done = box.run(PROGRAM, "tenant", "list", "--json")
    claim(done.returncode == 0 and '"acme"' in done.stdout, "commands find the running appliance", done)
    zones = box.data / "program"
    claim(any(zones.glob("*/_internal/tzdata/zoneinfo/Europe/Oslo")), "time zones come along", zones)


def it_starts_itself(box: Box, made: SetUp) -> None:
    """Check that the running file starts itself once more, as pages have it do, and knows what is in it."""
    with httpx.Client(cookies=made.cookies, timeout=60) as browser:
        answered = browser.get(f"{WEB}/operator/system/support-bundle")
    claim(answered.status_code == 200, "it starts itself once more, for a support bundle", answered.text)
    with zipfile.ZipFile(BytesIO(answered.content)) as archive:
        told = archive.read("CONTENTS.txt").decode()
        versions = json.loads(archive.read("versions.json"))
    claim("Missing:" not in told and versions["single_file"], "nothing is missing in it", told)
    parts = {each["name"]: each for each in json.loads(box.run(PROGRAM, "sbom").stdout)["components"]}
    bare = [
        name for name, each in parts.items() if "pypi" in each["purl"] and not {"hashes", "licenses"} <= each.keys()
    ]
    claim(set(pinned()) <= set(parts) and not bare, "its bill of materials has every package", bare)
    claim("## GPL-3.0" in box.run(PROGRAM, "version", "--notices").stdout, "it prints the third-party notices")


def main() -> None:
    """Try ``dist/appliance`` on the Debian whose root file system is the first argument."""
    root = Path(sys.argv[1]) if len(sys.argv) > 1 and sys.argv[1] else None
    if root is None or not (root / "usr/sbin/mosquitto").exists() or os.geteuid() != 0:
        raise SystemExit("error: as root, name a Debian with postgresql and mosquitto: make binary ROOTFS=DIR")
    configure(Log(level="error"), sys.stderr)
    claim(not list(root.glob("usr/bin/python3*")), "there is no Python on this Debian", "there is one")
    figure("size", f"{FILE.stat().st_size / content.MB:.0f} MB")
    leave_the_network()
    inside = root / PROGRAM.removeprefix("/")
    inside.parent.mkdir(parents=True, exist_ok=True)
    inside.write_bytes(FILE.read_bytes())
    inside.chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="appliance-binary-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        for name in ("refused", "used"):
            (Path(folder) / name).mkdir()
        says_what_to_set(root, Path(folder) / "refused")
        box = Box(root, Path(folder) / "used", STAGE, {"APPLIANCE_UNPACK_DIR": f"{VOLUME}/program"})
        try:
            use(box)
        finally:
            box.close()
            inside.unlink()


def use(box: Box) -> None:
    """Start the file for the first time and once more, use it, and stop it."""
    for start in ("first start", "later start"):
        began = time.monotonic()
        box.start()
        until((box.data / "data/run.json").exists, box, "it becomes ready")
        figure(f"ready at its {start}", f"{time.monotonic() - began:.1f} s")
        if start == "first start":
            made = first_message(box)
            children_have_their_own_libraries(box)
            commands_find_it(box)
            it_starts_itself(box, made)
        began = time.monotonic()
        box.run(PROGRAM, "version")
        figure("a command takes", f"{time.monotonic() - began:.2f} s")
        ended = box.stop()
        claim(ended.code == 0, f"the stop signal ends it with exit code 0, in {ended.seconds:.1f} s", box.tail())


if __name__ == "__main__":
    main()
