"""Planted secrets of every kind are looked for where nobody may find them: dump, files, log, environments, arguments.

One appliance is used as people and devices use it. Whatever secret it was given or has made is then searched for, byte
by byte.
"""

import json
import secrets
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from appliance.db.roles import BACKUP
from appliance.people.role import Role
from tests.support.appliance_process import PASSWORD, ApplianceProcess
from tests.support.postgres_server import programs
from tests.support.web.accounts import signed_in

PATIENCE = 30.0
KEY = f"idempotency-{secrets.token_hex(12)}"
PAYLOAD = f"payload-{secrets.token_hex(12)}"
"""Of a message that is refused: quarantine keeps it, as bytes, and no log has it."""
RECEIVERS: Mapping[str, Mapping[str, object]] = {
    "webhook": {"config": {"url": "http://127.0.0.1:9/"}, "secrets": {"authorization": "Bearer CANARY"}},
    "slack": {"config": {}, "secrets": {"url": "https://hooks.slack.com/services/CANARY"}},
    "pagerduty": {"config": {}, "secrets": {"routing_key": "CANARY"}},
}
"""Integrations with a secret that was given; CANARY stands for it."""


@dataclass(frozen=True, slots=True)
class Planted:
    """The appliance, and every secret that it was given or has made, by what it is."""

    appliance: ApplianceProcess
    secrets: Mapping[str, str]

    def found_in(self, content: bytes) -> list[str]:
        """Return which of the secrets stand in ``content``."""
        return [what for what, secret in self.secrets.items() if secret.encode() in content]


@pytest.fixture(scope="module")
def planted() -> Iterator[Planted]:
    known = {name: f"{name}-{secrets.token_hex(12)}" for name in ("mail", "heartbeat")}
    appliance = ApplianceProcess(
        {
            "APPLIANCE_MAIL_HOST": "mail.example",
            "APPLIANCE_MAIL_SENDER": "appliance@acme.example",
            "APPLIANCE_MAIL_USERNAME": "appliance",
            "APPLIANCE_MAIL_PASSWORD": known["mail"],
            "APPLIANCE_DELIVERY_HEARTBEAT_URL": f"https://127.0.0.1:9/{known['heartbeat']}",
            "APPLIANCE_DELIVERY_ALLOW_NETWORKS": "127.0.0.0/8",
            "APPLIANCE_LOG_LEVEL": "debug",
        }
    )
    try:
        appliance.start()
        known["the set-up link"] = appliance.set_up_link().rpartition("/")[2]
        known["the operator's password"] = PASSWORD
        known["the operator's session"] = max(appliance.set_up().cookies.values(), key=len)
        known["a claim password"] = appliance.command("tenant", "rotate-claim", "acme")["claim_password"]
        device = appliance.command("device", "add", "acme", "one")
        known["a device's password"], known["a device's token"] = device["password"], device["token"]
        person = signed_in(appliance.conninfo(), Role.ADMIN)
        known["a session"] = person.secret
        known["an API token"] = appliance.command("token", "add", person.email, "--scopes", "read", "--days", "9")[
            "token"
        ]
        known |= _integrations(appliance, {**person.headers(), "Idempotency-Key": KEY})
        login = ["-u", device["username"], "-P", device["password"]]
        where = ["-h", "127.0.0.1", "-p", str(appliance.mqtt_port), "-t", "tenant/acme/device/one/telemetry"]
        subprocess.run(["mosquitto_pub", *where, *login, "-q", "1", "-m", f'{{"a": "{PAYLOAD}'], check=True)
        deadline = time.monotonic() + PATIENCE
        while appliance.query("SELECT count(*) FROM quarantine_events") == [(0,)]:
            assert time.monotonic() < deadline, "what the device sent is not stored"
            time.sleep(0.05)
        known["the broker session's client id"] = json.loads((appliance.data_dir / "instance.json").read_text())[
            "mqtt_client_id"
        ]
        known |= {f"sealing key {n}": key for n, key in enumerate(_keys(appliance))}
        yield Planted(appliance, known)
    finally:
        appliance.close()


def _keys(appliance: ApplianceProcess) -> list[str]:
    return [key["secret"] for key in json.loads((appliance.data_dir / "keys.json").read_text())]


def _integrations(appliance: ApplianceProcess, headers: Mapping[str, str]) -> dict[str, str]:
    """Make one of each of RECEIVERS over the API; return what was given, and the signing secret that was made."""
    given = {}
    with httpx.Client(base_url=appliance.run["web_url"], headers=headers, timeout=20) as http:
        for kind, body in RECEIVERS.items():
            given[f"the secret of a {kind}"] = secret = secrets.token_hex(16)
            filled = json.loads(json.dumps(body).replace("CANARY", secret))
            answer = http.post(
                "/customer/integrations",
                json={"name": kind, "type": kind, **filled},
                headers={"Idempotency-Key": f"{KEY}-{kind}"},
            )
            assert answer.status_code == 201, answer.text
            if "signing_secret" in answer.json():
                given["a signing secret"] = answer.json()["signing_secret"]
    return given


def test_a_dump_of_the_database_gives_no_secret_away(planted: Planted) -> None:
    conninfo = planted.appliance.conninfo(BACKUP)
    dumped = subprocess.run([programs() / "pg_dump", "--dbname", conninfo], capture_output=True, check=True).stdout
    assert b"device_registry" in dumped
    assert PAYLOAD.encode().hex().encode() in dumped, "the dump has what devices sent"
    assert planted.found_in(dumped) == []
    assert KEY.encode() not in dumped


def test_no_file_of_the_data_folder_holds_a_secret_but_the_two_that_are_for_it(planted: Planted) -> None:
    folder = planted.appliance.data_dir
    there = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(there) > 100
    holders = {(path.name, what) for path in there for what in planted.found_in(path.read_bytes())}
    own = {(name, what) for name, what in holders if name in {"instance.json", "keys.json"}}
    assert own >= {("keys.json", "sealing key 0"), ("instance.json", "the broker session's client id")}
    # The broker's store names its sessions, ours among them; the folder is closed to everybody else.
    assert holders - own <= {("mosquitto.db", "the broker session's client id")}


def test_the_log_has_no_secret_and_nothing_that_devices_sent(planted: Planted) -> None:
    log = planted.appliance.log.read_bytes()
    # The set-up link is for whoever reads the console; it was used, and opens nothing any more.
    assert planted.found_in(log) == ["the set-up link"]
    assert PAYLOAD.encode() not in log
    assert KEY.encode() not in log


def test_no_process_shows_a_secret_in_its_arguments_and_no_child_in_its_environment(planted: Planted) -> None:
    assert planted.appliance.process is not None
    assert planted.found_in(Path(f"/proc/{planted.appliance.process.pid}/cmdline").read_bytes()) == []
    children = planted.appliance.children()
    assert len(children) == 2
    for pid in children:
        for file in ("environ", "cmdline"):
            assert planted.found_in(Path(f"/proc/{pid}/{file}").read_bytes()) == [], f"{file} of {pid}"


def test_a_crash_leaves_no_picture_of_memory(planted: Planted) -> None:
    assert planted.appliance.process is not None
    for pid in (planted.appliance.process.pid, *planted.appliance.children()):
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        assert [line.split()[4:6] for line in limits if line.startswith("Max core file size")] == [["0", "0"]]
