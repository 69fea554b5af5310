"""What the budget is told of the data folder, and what others are told of the budget."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.alerts.conditions.own import Exceeded
from appliance.config import Config
from appliance.config import Retention as Keys
from appliance.diagnostics.process_metrics import measure
from appliance.disk.levels import Room, levels_of_bytes
from appliance.disk.watch import DiskWatch
from appliance.ingest.telemetry.budget import BudgetState, BudgetTerms, Limit, Source, Usage
from appliance.ingest.telemetry.expiry import Wait
from appliance.metrics import Metrics
from appliance.supervisor.conditions import _exceeded
from appliance.supervisor.retention import Retention, budget_state, budget_terms, premises_of, usage_of

MIB = 1024 * 1024


def base(folder: Path, **keys: Any) -> Any:
    """What the stage builds on, as far as it is asked here."""
    return SimpleNamespace(config=Config(retention=Keys(**keys)), disk=DiskWatch(folder, Metrics()))


def having(state: BudgetState | None) -> Retention:
    return Retention(None, None if state is None else SimpleNamespace(state=state))  # type: ignore[arg-type]


def test_every_file_below_the_data_folder_counts(tmp_path: Path) -> None:
    watch = DiskWatch(tmp_path, Metrics())
    before = usage_of(measure(tmp_path), watch)
    for name in ("postgres/base/1", "postgres/pg_wal/1", "mosquitto/mosquitto.db", "upgrades/copy.tar", "reserve/00"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(os.urandom(MIB))
    after = usage_of(measure(tmp_path), watch)
    assert 5 * MIB <= after.own - before.own < 6 * MIB
    assert after.aside == 0
    for name in ("replaced-20261123T120000Z/postgres/1", "restoring/postgres/1"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_bytes(os.urandom(MIB))
    restored = usage_of(measure(tmp_path), watch)
    assert restored.aside == restored.own - after.own
    assert 2 * MIB <= restored.aside < 3 * MIB
    assert after.spare == levels_of_bytes(after.total).low_over + watch.reserve.owed_bytes


def test_a_reserve_that_was_given_back_is_to_be_free_too(tmp_path: Path) -> None:
    watch = DiskWatch(tmp_path, Metrics())
    watch.reserve.take()
    held = watch.spare
    watch.reserve.give_back()
    assert watch.spare == held + levels_of_bytes(watch.room.total).reserve


@pytest.mark.parametrize(
    ("keys", "terms"),
    [
        ({}, BudgetTerms(0, by_disk=True)),
        ({"max_bytes": 10**9, "when_full": "hold"}, BudgetTerms(10**9, by_disk=False)),
    ],
)
def test_the_terms_are_those_of_the_configuration(tmp_path: Path, keys: dict[str, Any], terms: BudgetTerms) -> None:
    assert budget_terms(base(tmp_path, **keys)) == terms


def test_where_the_keeper_has_not_measured_the_budget_is_told_by_what_was(tmp_path: Path) -> None:
    process: Any = SimpleNamespace(disk=None)
    asked = base(tmp_path, max_bytes=10**9, when_full="hold")
    assert budget_state(asked, having(None), process) is None, "an external database"
    assert budget_state(asked, having(BudgetState()), process) == BudgetState()
    process.disk = measure(tmp_path)
    found = budget_state(asked, having(BudgetState()), process)
    assert found is not None
    assert found.limit == Limit(10**9, Source.MAX_BYTES)
    known = BudgetState(Usage(1, 2, 1, 0), None)
    assert budget_state(asked, having(known), process) is known


@pytest.mark.parametrize(
    ("source", "exhausted", "told"),
    [
        (Source.MAX_BYTES, True, True),
        (Source.MAX_BYTES, False, False),
        (Source.DISK, True, False),  # a disk that is low or full has its own alert
    ],
)
def test_an_alert_is_for_a_limit_that_is_configured(source: Source, exhausted: bool, told: bool) -> None:
    state = BudgetState(Usage(3, 10, 7, 0), Limit(2, source), exhausted=exhausted)
    found = _exceeded(having(state))
    assert (None if found is None else (found.taken, found.limit)) == ((3, 2) if told else None)
    assert _exceeded(having(None)) is None


def test_it_says_whether_what_a_restore_replaced_is_the_reason() -> None:
    state = BudgetState(Usage(3, 10, 7, 0, 1), Limit(2, Source.MAX_BYTES), wait=Wait.ASIDE, exhausted=True)
    assert _exceeded(having(state)) == Exceeded(3, 2, aside=True)


@pytest.mark.parametrize(("beyond", "room", "full"), [(0, True, False), (-1, False, False), (None, False, True)])
def test_the_disk_has_room_while_as_much_is_free_as_is_to_be(
    tmp_path: Path, beyond: int | None, room: bool, full: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = base(tmp_path)
    total = given.disk.room.total
    free = 0 if beyond is None else given.disk.spare + beyond
    monkeypatch.setattr("appliance.disk.watch.measure", lambda _folder: Room(total, free, 0, 0))
    given.disk.look()
    unused: Any = None
    told = premises_of(given, unused, unused)
    assert (told.has_room(), told.is_full()) == (room, full)
