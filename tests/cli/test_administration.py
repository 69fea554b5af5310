"""``tenant``, ``device`` and ``subscription``, from the command line to the broker and back."""

import getpass
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from appliance.errors import ApplianceError
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.postgres_server import Database
from tests.support.program import handled, invoke
from tests.support.project import ROOT

pytestmark = pytest.mark.real

SUBSCRIPTION_ROW = {
    "subscription_id", "tenant_id", "subscription_type", "parent_subscription_id", "device_limit",
    "active_device_count", "term_start", "term_end", "status", "grace_end", "hold_reason", "plan_id", "description",
    "last_full_day",
}  # fmt: skip
DEVICE_ROW = {
    "tenant_id", "device_id", "status", "subscription_id", "site_id", "name", "place", "tags", "interval",
    "last_seen_at", "own_credential", "switch_at",
}  # fmt: skip
TENANT_ROW = {
    "tenant_id", "name", "status", "provisioning", "claim_enabled", "has_claim", "created_at", "devices", "time_zone",
    "limits", "version", "last_heard_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def running() -> Iterator[ApplianceProcess]:
    """One appliance for all commands here; each test has a tenant of its own."""
    with started() as process:
        process.tenant("demo", seats=10)
        process.command("device", "add", "demo", "first")
        yield process


def text(where: ApplianceProcess, *arguments: str, given: str | None = None) -> str:
    """What the command prints for people."""
    return handled(invoke(where.settings, *arguments, typed=given)).stdout


def ask(where: ApplianceProcess, *arguments: str, given: str | None = None) -> Any:
    """What the command prints as JSON."""
    return json.loads(text(where, *arguments, "--json", given=given))


def tenant(where: ApplianceProcess, name: str, seats: int = 5) -> dict[str, str]:
    """A tenant with seats; its claim user."""
    made: dict[str, str] = ask(where, "tenant", "add", name)
    ask(where, "subscription", "add", name, "--limit", str(seats), "--days", "30")
    return made


def publish(where: ApplianceProcess, user: str, password: str, topic: str) -> int:
    """mosquitto_pub's exit code; MQTT 5 tells it when it was denied."""
    who = ("-u", user, "-P", password, "-h", "127.0.0.1", "-p", str(where.mqtt_port), "-V", "5")
    command = ["mosquitto_pub", *who, "-q", "1", "-t", topic, "-m", '{"v": 1}', "-d"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode or int("RC:135" in done.stdout)


def test_tenant_add_prints_the_claim_user_which_works_at_once(running: ApplianceProcess) -> None:
    made = ask(running, "tenant", "add", "t1", "--name", "One", "--provisioning", "approve")
    assert made == {"tenant_id": "t1", "claim_username": "t1", "claim_password": made["claim_password"]}
    assert publish(running, "t1", made["claim_password"], "tenant/t1/device/d1/telemetry") == 0
    assert publish(running, "t1", made["claim_password"], "tenant/t2/device/d1/telemetry") == 1
    row = next(row for row in ask(running, "tenant", "list") if row["tenant_id"] == "t1")
    assert set(row) == TENANT_ROW
    assert (row["name"], row["provisioning"], row["status"]) == ("One", "approve", "ACTIVE")


def test_tenant_suspend_resume_provisioning_and_claim(running: ApplianceProcess) -> None:
    old = tenant(running, "t3")["claim_password"]
    assert ask(running, "tenant", "suspend", "t3")["status"] == "SUSPENDED"
    assert ask(running, "tenant", "resume", "t3")["status"] == "ACTIVE"
    assert ask(running, "tenant", "provisioning", "t3", "off")["provisioning"] == "off"
    new = ask(running, "tenant", "rotate-claim", "t3")
    assert set(new) == {"tenant_id", "claim_username", "claim_password"}
    topic = "tenant/t3/device/d1/telemetry"
    assert publish(running, "t3", old, topic) != 0
    assert publish(running, "t3", new["claim_password"], topic) == 0
    assert ask(running, "tenant", "claim", "t3", "off")["claim_enabled"] is False
    assert publish(running, "t3", new["claim_password"], topic) != 0
    assert ask(running, "tenant", "claim", "t3", "on")["claim_enabled"] is True
    assert publish(running, "t3", new["claim_password"], topic) == 0


def test_device_add_prints_a_credential_which_works_at_once(running: ApplianceProcess) -> None:
    claim = tenant(running, "t4")
    made = ask(running, "device", "add", "t4", "d1", "--site", "hall")
    assert set(made) == {"tenant_id", "device_id", "username", "password", "token"}
    assert made["username"] == "t4/device/d1"
    topic = "tenant/t4/device/d1/telemetry"
    assert publish(running, made["username"], made["password"], topic) == 0
    assert publish(running, made["username"], made["password"], "tenant/t4/device/d2/telemetry") == 1
    assert publish(running, "t4", claim["claim_password"], topic) == 1, "it has a credential of its own"
    shown = ask(running, "device", "show", "t4", "d1")
    assert set(shown) == DEVICE_ROW | {"credential"}
    assert set(shown["credential"]) == {
        "created_at", "rotated_at", "previous_token_until", "staged_at", "switch_at", "last_used_at",
    }  # fmt: skip
    (row,) = ask(running, "device", "list", "t4")
    assert set(row) == DEVICE_ROW
    assert (row["site_id"], row["status"], row["own_credential"]) == ("hall", "ACTIVE", True)


def test_device_rotate_is_staged_until_the_switch(running: ApplianceProcess) -> None:
    tenant(running, "t5")
    old = ask(running, "device", "add", "t5", "d1")
    new = ask(running, "device", "rotate", "t5", "d1")
    assert set(new) == {"tenant_id", "device_id", "username", "password", "token", "staged", "switch_at"}
    assert (new["staged"], new["switch_at"]) == (True, None)
    topic = "tenant/t5/device/d1/telemetry"
    assert [publish(running, old["username"], one["password"], topic) == 0 for one in (old, new)] == [True, False]
    assert ask(running, "device", "switch", "t5", "d1")["device_id"] == "d1"
    assert [publish(running, old["username"], one["password"], topic) == 0 for one in (old, new)] == [False, True]
    third = ask(running, "device", "rotate", "t5", "d1", "--now")
    assert third["staged"] is False
    assert publish(running, old["username"], third["password"], topic) == 0
    timed = ask(running, "device", "rotate", "t5", "d1", "--at", "2099-12-01T06:00+0100")
    assert timed["switch_at"] == "2099-12-01T05:00:00Z"


def test_device_revoke_shuts_it_out(running: ApplianceProcess) -> None:
    tenant(running, "t6")
    made = ask(running, "device", "add", "t6", "d1")
    row = ask(running, "device", "revoke", "t6", "d1")
    assert (set(row), row["status"], row["own_credential"]) == (DEVICE_ROW, "REVOKED", False)
    assert publish(running, made["username"], made["password"], "tenant/t6/device/d1/telemetry") != 0


def test_device_approve(running: ApplianceProcess) -> None:
    tenant(running, "t7")
    insert = (
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 't7', 'd1', 'PENDING') RETURNING 1"
    )
    running.query(insert)
    row = ask(running, "device", "approve", "t7", "d1")
    assert (set(row), row["status"]) == (DEVICE_ROW, "ACTIVE")
    with pytest.raises(ApplianceError, match="ACTIVE; it cannot be changed by `approve`"):
        ask(running, "device", "approve", "t7", "d1")


def test_device_import_can_be_tried_and_run_again(running: ApplianceProcess, tmp_path: Path) -> None:
    tenant(running, "t8", seats=2)
    file = tmp_path / "devices.csv"
    file.write_text("device_id,name,tags,interval\nd1,Pump,wet|loud,60\n.bad,x,,\nd2,,,\nd3,,,\n")
    expected = ["created", "refused", "created", "no_capacity"]
    planned = ask(running, "device", "import", "t8", str(file), "--dry-run")
    assert [row["outcome"] for row in planned] == expected
    assert ask(running, "device", "list", "t8") == []
    made = ask(running, "device", "import", "t8", str(file), "--credentials")
    assert [(row["line"], row["device_id"], row["outcome"]) for row in made] == list(
        zip((2, 3, 4, 5), ("d1", ".bad", "d2", "d3"), expected, strict=True)
    )
    assert publish(running, made[0]["username"], made[0]["password"], "tenant/t8/device/d1/telemetry") == 0
    again = ask(running, "device", "import", "t8", "-", given=file.read_text())
    assert [row["outcome"] for row in again] == ["unchanged", "refused", "unchanged", "no_capacity"]
    table = text(running, "device", "import", "t8", str(file)).splitlines()
    assert table[0].split() == ["LINE", "DEVICE_ID", "OUTCOME", "SUBSCRIPTION_ID", "DETAIL"]
    file.write_text("device_id,interval\nd1,soon\n")
    with pytest.raises(ApplianceError, match="Line 2, column interval: 'soon' is not a number"):
        ask(running, "device", "import", "t8", str(file))


def test_subscriptions(running: ApplianceProcess) -> None:
    ask(running, "tenant", "add", "t9")
    main = ask(running, "subscription", "add", "t9", "--limit", "3", "--days", "30")
    assert set(main) == SUBSCRIPTION_ROW
    assert (main["subscription_type"], main["device_limit"], main["status"]) == ("MAIN", 3, "ACTIVE")
    identity = main["subscription_id"]
    addon = ask(
        running, "subscription", "add", "t9", "--type", "ADDON", "--limit", "2", "--days", "1", "--parent", identity
    )
    assert (addon["parent_subscription_id"], addon["term_end"]) == (identity, main["term_end"])
    assert ask(running, "subscription", "set", identity, "--limit", "9", "--plan", "gold")["device_limit"] == 9
    assert ask(running, "subscription", "set", identity, "--hold", "unpaid")["status"] == "SUSPENDED"
    assert [row["status"] for row in ask(running, "subscription", "list", "t9")] == ["SUSPENDED", "SUSPENDED"]
    assert ask(running, "subscription", "set", identity, "--lift")["status"] == "ACTIVE"
    until = ask(running, "subscription", "set", identity, "--until", "2099-01-01")
    assert (until["term_end"], until["last_full_day"]) == ("2099-01-01T00:00:00Z", "2098-12-31")
    running.query("UPDATE tenants SET time_zone = 'America/New_York' WHERE tenant_id = 't9' RETURNING 1")
    assert text(running, "subscription", "list", "t9").splitlines()[1].endswith("2099-01-01T00:00:00Z  2098-12-30")
    assert {row["tenant_id"] for row in ask(running, "subscription", "list")} >= {"demo", "t9"}


def test_subscription_renew_renews_once_and_says_until_when(running: ApplianceProcess) -> None:
    tenant(running, "r1")
    (before,) = ask(running, "subscription", "list", "r1")
    identity = before["subscription_id"]
    renew = ("subscription", "renew", identity, "--days", "365", "--limit", "8", "--plan", "gold")
    planned = ask(running, *renew, "--dry-run")
    assert (planned["would_change"], planned["previous_device_limit"], planned["device_limit"]) == (True, 5, 8)
    assert ask(running, "subscription", "list", "r1") == [before]
    made = ask(running, *renew, "--key", "order 4711")
    assert (made["changed"], made["replayed"], made["broker"]) == (True, False, None)
    assert (made["previous_term_end"], made["new_term_end"]) == (before["term_end"], planned["new_term_end"])
    assert ask(running, *renew, "--key", "order 4711") == made | {"replayed": True}
    again = ask(running, *renew)
    assert (again["changed"], again["note"], again["new_term_end"]) == (False, "Already active", made["new_term_end"])
    (after,) = ask(running, "subscription", "list", "r1")
    assert (after["term_end"], after["device_limit"], after["plan_id"]) == (made["new_term_end"], 8, "gold")
    told = text(running, *renew, "--key", "order 4711")
    assert told.startswith("This key was used before; nothing more was changed.")
    assert f"{identity} is renewed until the end of " in told
    day = datetime.fromisoformat(planned["new_last_full_day"])
    assert f"until the end of {day:%-d %B %Y}." in told
    early = text(running, "subscription", "renew", identity, "--days", "30")
    assert early.startswith("Already active: nothing was changed.")
    assert "Renewing opens on " in early
    actors = running.query("SELECT actor FROM audit_log WHERE tenant_id = 'r1' AND action = 'subscription.renew'")
    assert actors == [(getpass.getuser(),)]


def test_subscription_renew_with_fewer_seats_stops_the_named_devices_at_the_broker(running: ApplianceProcess) -> None:
    tenant(running, "r2")
    (row,) = ask(running, "subscription", "list", "r2")
    secrets = {name: ask(running, "device", "add", "r2", name) for name in ("d1", "d2", "d3")}
    renew = ("subscription", "renew", row["subscription_id"], "--tenant", "r2", "--days", "30", "--limit", "2")
    for how in ((), ("--dry-run",), ("--deactivate", "never"), ("--deactivate", "d1", "--deactivate", "d2")):
        refused = process(running, *renew, *how)
        assert refused.returncode == 1
        assert refused.stderr.startswith("error: Name exactly 1 device of ")
        assert refused.stderr.count("\n") == 1
        head, *listed = refused.stdout.splitlines()
        assert head.split() == ["DEVICE_ID", "NAME", "LAST_SEEN_AT"]
        assert [line.split()[0] for line in listed] == ["d1", "d2", "d3"]
    told = json.loads(process(running, *renew, "--json").stdout)
    assert (told["needed"], [one["device_id"] for one in told["candidates"]]) == (1, ["d1", "d2", "d3"])
    assert ask(running, *renew, "--deactivate", "d2", "--dry-run")["devices_to_stop"] == ["d2"]
    assert ask(running, "device", "show", "r2", "d2")["status"] == "ACTIVE"
    made = ask(running, *renew, "--deactivate", "d2")
    assert (made["devices_deactivated"], made["broker"]) == (["d2"], "applied")
    for name, may in (("d1", True), ("d2", False)):
        code = publish(
            running, secrets[name]["username"], secrets[name]["password"], f"tenant/r2/device/{name}/telemetry"
        )
        assert (code == 0) is may, (name, code)


def test_tables_are_aligned(running: ApplianceProcess) -> None:
    tenant(running, "a-rather-long-tenant-id")
    for command in (("tenant", "list"), ("subscription", "list"), ("device", "list", "demo")):
        head, *rows = text(running, *command).splitlines()
        assert rows
        starts = [word.start() for word in re.finditer(r"\S+", head)]
        assert all(row[start - 2 : start] == "  " for row in rows for start in starts[1:])
        assert all(row[start] != " " for row in rows for start in starts)


def test_who_did_it_is_the_user_of_the_operating_system(running: ApplianceProcess) -> None:
    tenant(running, "t10")
    actors = running.query("SELECT DISTINCT actor, actor_kind FROM audit_log WHERE tenant_id = 't10'")
    assert actors == [(getpass.getuser(), "command")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tenant", "add", "demo"], "Tenant demo already exists."),
        (["tenant", "add", "appliance"], "taken by the appliance itself"),
        (["tenant", "add", "a/b"], "1 to 64 of"),
        (["tenant", "suspend", "never"], "There is no tenant never."),
        (["tenant", "suspend", "appliance"], "There is no tenant appliance."),
        (["tenant", "rotate-claim", "appliance"], "There is no tenant appliance."),
        (["subscription", "add", "appliance", "--limit", "5", "--days", "30"], "There is no tenant appliance."),
        (["device", "add", "appliance", "d1"], "There is no tenant appliance."),
        (["device", "list", "appliance"], "There is no tenant appliance."),
        (["device", "add", "demo", "first"], "Device first already exists"),
        (["device", "add", "never", "d1"], "There is no tenant never."),
        (["device", "show", "demo", "never"], "There is no device never of tenant demo."),
        (["device", "list", "never"], "There is no tenant never."),
        (["device", "rotate", "demo", "never"], "There is no device never."),
        (["device", "switch", "demo", "first"], "no new password waiting"),
        (["subscription", "set", "SUB-0", "--limit", "1"], "There is no subscription SUB-0."),
        (["subscription", "renew", "SUB-0", "--days", "30"], "There is no subscription SUB-0."),
        (["subscription", "renew", "SUB-0", "--days", "30", "--tenant", "demo"], "There is no subscription SUB-0."),
        (["subscription", "renew", "SUB-0", "--days", "30", "--tenant", "never"], "There is no tenant never."),
        (["subscription", "renew", "SUB-0", "--days", "30", "--dry-run"], "There is no subscription SUB-0."),
        (["subscription", "renew", "SUB-0", "--days", "30", "--tenant", "demo", "--key", "a\tb"], "Idempotency-Key"),
        (["subscription", "renew", "SUB-0", "--days", "30", "--tenant", "demo", "--plan", ""], "A plan has a name"),
    ],
)
def test_what_cannot_be_is_one_line(running: ApplianceProcess, arguments: list[str], words: str) -> None:
    with pytest.raises(ApplianceError) as caught:
        ask(running, *arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["device", "rotate", "demo", "first", "--now", "--at", "2099-12-01T06:00+0100"], 2),
        (["subscription", "set", "SUB-0"], 2),
        (["subscription", "renew", "SUB-0", "--days", "31"], 2),
        (["subscription", "renew", "SUB-0", "--days", "30", "--again"], 2),
        (["subscription", "renew", "SUB-0", "--days", "30"], 1),
        (["tenant", "claim", "demo", "maybe"], 2),
        (["tenant", "add", "demo"], 1),
    ],
)
def test_exit_codes(running: ApplianceProcess, arguments: list[str], code: int) -> None:
    done = process(running, *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def process(where: ApplianceProcess, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "appliance", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=where.environment(), capture_output=True, text=True, check=False, timeout=60
    )


def test_with_the_appliance_down_its_database_is_started_for_the_command() -> None:
    """Also before the very first start; what is made then works at the next one."""
    with closing(ApplianceProcess()) as away:
        done = process(away, "tenant", "add", "early", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        claim = json.loads(done.stdout)
        assert away.children() == []
        failed = process(away, "tenant", "add", "early", "--json")
        assert (failed.returncode, failed.stderr) == (1, "error: Tenant early already exists.\n")
        away.start()
        assert [row["tenant_id"] for row in ask(away, "tenant", "list")] == ["early"], "no other one is made"
        assert publish(away, "early", claim["claim_password"], "tenant/early/device/d/telemetry") == 0


def test_an_external_database_serves_as_well(database: Database, tmp_path: Path) -> None:
    with closing(ApplianceProcess()) as away:
        away.settings["APPLIANCE_DATABASE_URL"] = database.url
        assert ask(away, "tenant", "add", "acme")["claim_username"] == "acme"
        assert not away.data_dir.exists()
        away.settings["APPLIANCE_DATABASE_URL"] = f"postgresql://postgres@/x?host={tmp_path}"
        with pytest.raises(ApplianceError, match="the database cannot be reached"):
            ask(away, "tenant", "list")
