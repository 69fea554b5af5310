"""``appliance quarantine``, against a running appliance and against none."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from click.testing import Result

from appliance.errors import Conflict, NotFound
from tests.support.appliance_process import ApplianceProcess, started
from tests.support.pipeline import Message, furnish, look, open_ingest, telemetry
from tests.support.postgres_server import Database
from tests.support.program import handled, invoke

pytestmark = pytest.mark.real

Run = Callable[..., Result]


def runner(settings: dict[str, str]) -> Run:
    """Runs commands in this process, with these settings only."""

    def run(*arguments: str, given: str | None = None) -> Result:
        return handled(invoke(settings, "quarantine", *arguments, typed=given))

    return run


def answer(result: Result) -> Any:
    """What it printed as JSON."""
    return json.loads(result.stdout)


@pytest.fixture
def run(database: Database) -> Run:
    """Commands on an external database that no appliance works on."""
    return runner({"APPLIANCE_DATABASE_URL": database.url})


@pytest.fixture
def filled(database: Database) -> None:
    """One seat, taken; two devices without, a malformed message, one of nobody."""

    async def fill() -> None:
        await furnish(database, seats=1)
        async with open_ingest(database) as stack:
            await stack.send(telemetry("seated", b'{"t":1}'))
            await stack.send(telemetry("d-1", b'{"t":2}'), telemetry("d-2", b'{"t":3}'))
            await stack.send(telemetry("seated", b"\xff\x1b[2J"), telemetry("x", b"{}", tenant="nobody"))

    trio.run(fill)


@pytest.mark.usefixtures("filled")
def test_list_shows_what_is_held_newest_first_and_narrows(run: Run) -> None:
    rows = answer(run("list", "--json"))
    assert [row["reason"] for row in rows] == [
        "UNKNOWN_TENANT", "INVALID_ENCODING", "NO_SUBSCRIPTION_CAPACITY", "NO_SUBSCRIPTION_CAPACITY",
    ]  # fmt: skip
    assert {row["payload"] for row in rows if "payload" in row} == {"{}", '{"t":2}', '{"t":3}'}
    assert rows[1]["payload_base64"] == "/xtbMko="
    assert [row["device_id"] for row in answer(run("list", "--device", "d-1", "--json"))] == ["d-1"]
    assert len(answer(run("list", "--tenant", "acme", "--json"))) == 3
    assert len(answer(run("list", "--unknown-tenant", "--json"))) == 1
    assert len(answer(run("list", "--reason", "invalid_encoding", "--json"))) == 1
    assert len(answer(run("list", "--since", "1h", "--json"))) == 4
    assert answer(run("list", "--until", "1h", "--json")) == []
    assert answer(run("list", "--status", "replayed", "--json")) == []
    assert [row["id"] for row in answer(run("list", "--before", str(rows[1]["id"]), "--limit", "1", "--json"))] == [
        rows[2]["id"]
    ]
    assert "NO_SUBSCRIPTION_CAPACITY" in run("list").stdout


@pytest.mark.usefixtures("filled")
def test_show_prints_one_message_and_nothing_that_steers_a_terminal(run: Run, database: Database) -> None:
    [(event_id,)] = look(database, "SELECT id FROM quarantine_events WHERE reason = 'NO_SUBSCRIPTION_CAPACITY' LIMIT 1")
    assert answer(run("show", str(event_id), "--json"))["payload"] == '{"t":2}'
    look(database, "UPDATE quarantine_events SET detail = E'\\x1b[2J', payload = E'\\\\x1b' RETURNING id")
    assert "\x1b" not in run("show", str(event_id)).stdout
    assert "\\x1b[2J" in run("show", str(event_id)).stdout
    with pytest.raises(NotFound):
        run("show", "999999")


@pytest.mark.usefixtures("filled")
def test_counts_are_by_reason_with_how_far_back_holding_reaches(run: Run) -> None:
    found = answer(run("counts", "--tenant", "acme", "--json"))
    assert [(cause["reason"], cause["held"], cause["refused"]) for cause in found["causes"]] == [
        ("NO_SUBSCRIPTION_CAPACITY", 2, 2), ("INVALID_ENCODING", 1, 1),
    ]  # fmt: skip
    assert (found["holding"]["held"], found["holding"]["evicted"]) == (3, 0)
    assert "none was ever evicted" in run("counts", "--tenant", "acme").stdout
    assert answer(run("counts", "--json"))["holding"] is None


@pytest.mark.usefixtures("filled")
def test_dismiss_decides_and_says_what_is_not_there(run: Run, database: Database) -> None:
    event_ids = [str(row["id"]) for row in answer(run("list", "--reason", "NO_SUBSCRIPTION_CAPACITY", "--json"))]
    assert run("dismiss", "--id", event_ids[0], given="n\n").exit_code == 1
    assert answer(run("dismiss", "--id", event_ids[0], "--json")) == {"dismissed": 1}
    with pytest.raises(Conflict):
        run("dismiss", "--id", event_ids[0], "--yes")
    with pytest.raises(NotFound):
        run("dismiss", "--id", event_ids[1], "--id", "999999", "--yes")
    with pytest.raises(NotFound):
        run("dismiss", "--tenant", "rival", "--yes")
    assert run("dismiss").exit_code == 2
    assert look(database, "SELECT status, decided_by IS NOT NULL FROM quarantine_events ORDER BY id LIMIT 2") == [
        ("HELD", False), ("DISMISSED", True),
    ]  # fmt: skip
    assert look(
        database,
        "SELECT actor_kind, object_type, object_id, after->>'messages' FROM audit_log WHERE action ~ 'dismiss'",
    ) == [("command", "quarantine", event_ids[0], "1")]


@pytest.mark.usefixtures("filled")
def test_a_dry_run_says_what_a_replay_would_do_and_does_nothing(run: Run, database: Database) -> None:
    said = answer(run("replay", "--dry-run", "--json"))
    assert said == {
        "forecast": {
            "selected": 2, "examined": 2, "passing": 0, "refused": {"NO_SUBSCRIPTION_CAPACITY": 2}, "new_devices": 0,
            "complete": True,
        },
        "replay": None,
    }  # fmt: skip
    assert "0 of 2 would pass" in run("replay", "--dry-run").stdout
    assert "Nothing" in run("replay", "--tenant", "rival").stdout
    assert run("replay", given="n\n").exit_code == 1
    assert look(database, "SELECT count(*) FROM quarantine_replays") == [(0,)]


@pytest.mark.usefixtures("filled")
def test_a_replay_waits_for_an_appliance_and_can_be_cancelled(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.cli.replaying.TAKEN_UP_SECONDS", 0.1)
    assert "is queued: no appliance" in run("replay", "--yes").stdout
    [waiting] = answer(run("replays", "--json"))
    assert (waiting["status"], waiting["total"], waiting["examined"]) == ("WAITING", 2, 0)
    assert answer(run("cancel", str(waiting["replay_id"]), "--json"))["status"] == "CANCELLED"
    with pytest.raises(Conflict):
        run("cancel", str(waiting["replay_id"]))
    assert "CANCELLED" in run("replays").stdout


@pytest.mark.parametrize("time", ["yesterday", "2026-13-01", "99999999d", "-1h"])
def test_a_time_that_is_none_is_refused(run: Run, time: str) -> None:
    assert run("list", "--since", time).exit_code == 2


@pytest.fixture
def running() -> Iterator[ApplianceProcess]:
    """A running appliance."""
    with started() as process:
        process.tenant("demo")
        yield process


def test_a_running_appliance_does_the_work(running: ApplianceProcess) -> None:
    command = runner(running.settings)
    message = Message("tenant/demo/device/late/telemetry", b'{"t":1}')
    running.query(
        "INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, payload)"
        " SELECT to_timestamp(%s + n), %s, 'demo', 'late', 'telemetry', 'UNREGISTERED_DEVICE', %s"
        " FROM generate_series(1, 500) AS n RETURNING id",
        int(time.time()) - 3600,
        message.topic,
        message.payload,
    )
    done = answer(command("replay", "--tenant", "demo", "--json"))
    assert (done["forecast"]["passing"], done["forecast"]["new_devices"]) == (500, 1)
    assert (done["replay"]["status"], done["replay"]["replayed"], done["replay"]["total"]) == ("DONE", 500, 500)
    assert running.query("SELECT count(*) FROM telemetry WHERE device_id = 'late'") == [(500,)]
    assert "Nothing" in command("replay", "--tenant", "demo").stdout
