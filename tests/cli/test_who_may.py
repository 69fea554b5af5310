"""Who may run a command: whoever may read the data folder of the appliance, or has the address of its database.

Every command stands in the table with what it touches. Those that touch data are tried as another user of the machine.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from enum import Enum
from pathlib import Path

from appliance.children.data_dir import RunFile, open_data_dir
from appliance.cli import cli
from tests.cli.test_audit import CHANGING, leaves, named
from tests.support.project import ROOT

NOBODY = 65534 if os.geteuid() == 0 else os.geteuid()
"""A user of the machine to whom nothing belongs; who is not root can become nobody else, see ``rights_of_others``."""


class Touches(Enum):
    """What a command works on, and so who may run it."""

    NOTHING = "nothing: whoever can run the program"
    SETTINGS = "the configuration: whoever may read its file and the files of its secrets"
    DATA = "the database of the appliance: whoever may read its data folder, or has the address of its database"
    APPLIANCE = "the data folder as a whole: whoever may write it"
    SOCKET = "the socket of a running appliance: its own user and root, others hear that none runs there"
    BROKER = "the device listener: whoever has the password of a user of the broker"


TABLE: Mapping[str, Touches] = {
    "version": Touches.NOTHING,
    "sbom": Touches.NOTHING,
    "check-config": Touches.SETTINGS,
    "run": Touches.APPLIANCE,
    "healthcheck": Touches.SOCKET,
    "simulate": Touches.BROKER,
    **dict.fromkeys(
        (
            "backup", "ca", "clock confirm", "confirm-restore", "doctor", "migrate", "peer list", "peer remove", "psql",
            "restore", "setup-link", "support-bundle",
            "device add", "device approve", "device import", "device list", "device revoke", "device rotate",
            "device show", "device switch",
            "quarantine cancel", "quarantine counts", "quarantine dismiss", "quarantine list", "quarantine replay",
            "quarantine replays", "quarantine show",
            "subscription add", "subscription list", "subscription renew", "subscription set",
            "tenant add", "tenant claim", "tenant list", "tenant provisioning", "tenant resume", "tenant rotate-claim",
            "tenant suspend", "tenant export", "tenant delete",
            "token add", "user add", "user disable", "user enable", "user list", "user reset",
        ),
        Touches.DATA,
    ),
}  # fmt: skip

READ_BY = {"device list": "device list t", "device show": "device show t d", "quarantine show": "quarantine show 1",
           "restore": "restore /dev/null"}  # fmt: skip
"""Commands that read, with what they need; the others need nothing."""

NEED_DATA = {Touches.DATA, Touches.APPLIANCE, Touches.BROKER}
"""The last finds the device listener in the data folder, unless it is told where it is."""
RUN_AS = "run this command as the user who runs the appliance, or as root"

AS_NOBODY = """
import encodings.utf_8_sig, json, os, sys  # what nobody could not load any more
from click.testing import CliRunner
from appliance.cli.program import first_error
from appliance.cli import cli
from tests.cli.test_audit import TYPED, named
names = {line: named(line) for line in json.load(sys.stdin)}
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
found = {}
for line in names:
    done = CliRunner().invoke(cli, line.split(), input=TYPED.get(names[line]))
    error = done.exception if done.exception is None else first_error(done.exception)
    found[line] = [type(error).__name__, str(error), done.output]
json.dump(found, sys.stdout)
"""


def test_of_every_command_it_is_known_what_it_touches() -> None:
    assert set(leaves(cli)) == set(TABLE)


@contextmanager
def rights_of_others(folder: Path) -> Iterator[None]:
    """Leave the owner of a folder, and of all in it, no more rights than everybody else has.

    Of those the kernel asks three bits of the mode, and of the owner three others of the same meaning.
    """
    modes = {path: path.lstat().st_mode & 0o777 for path in (folder, *folder.rglob("*")) if not path.is_symlink()}
    try:
        for path, mode in reversed(modes.items()):
            path.chmod((mode & 0o007) << 6 | mode & 0o077)
        yield
    finally:
        for path, mode in modes.items():
            path.chmod(mode)


def test_another_user_of_the_machine_gets_nothing_of_an_appliance(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)  # so that it is the data folder itself that keeps them out
    lines = {named(line): line for line, _ in CHANGING} | READ_BY
    asked = [lines.get(name, name) for name, touches in TABLE.items() if touches in NEED_DATA]
    with open_data_dir(tmp_path / "data") as data:
        data.write_run_file(RunFile(os.getpid(), "http://127.0.0.1:1", "127.0.0.1", 1, "host=/nowhere", None))
        before = sorted(data.path.iterdir())
        with nullcontext() if os.geteuid() == 0 else rights_of_others(data.path):
            done = subprocess.run(
                [sys.executable, "-c", AS_NOBODY, str(NOBODY)],
                input=json.dumps(asked),
                env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "APPLIANCE_DATA_DIR": str(data.path)},
                capture_output=True,
                text=True,
                check=True,
                cwd=tmp_path,
                timeout=60,
            )
        assert sorted(data.path.iterdir()) == before
        closed = [path.name for path in before if path.is_file() and not path.is_symlink()]
        assert {"instance.json", "keys.json", "run.json"} <= set(closed)
        assert [name for name in closed if (data.path / name).stat().st_mode & 0o077] == []
    found = json.loads(done.stdout)
    assert set(found) == set(asked)
    for line, (kind, text, output) in found.items():
        assert kind == "ApplianceError", (line, kind, text, output)
        told = f"data_dir {data.path} cannot be used by user id {NOBODY}" if line == "run" else RUN_AS
        assert told in text, (line, text)
