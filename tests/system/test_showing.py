"""``appliance simulate --show``: every reason of refusal, provoked from outside and counted."""

import json
import subprocess
import sys
from typing import Any

import pytest

from appliance.cli.showing import parse
from appliance.reading import HELD_REASONS, Reason
from appliance.simulate.scenes import DEMO_TENANTS, SCENES
from tests.support.accounting import look
from tests.support.appliance_process import ApplianceProcess
from tests.support.project import ROOT


def show(appliance: ApplianceProcess, what: str, expected: int = 0) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "appliance", "simulate", "--show", what, "--json"],
        cwd=ROOT,
        env=appliance.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (expected, ""), done.stderr + done.stdout
    return {row["reason"]: row for row in json.loads(done.stdout)}


def test_there_is_one_scene_for_each_reason() -> None:
    assert sorted(scene.reason for scene in SCENES) == sorted(Reason)


def test_single_reasons_are_named_in_any_case_and_others_refused() -> None:
    assert [scene.reason for scene in parse("rate_limited, DEVICE_INACTIVE")] == [
        Reason.RATE_LIMITED, Reason.DEVICE_INACTIVE,
    ]  # fmt: skip
    with pytest.raises(ValueError, match="'NONSENSE' is not a reason"):
        parse("nonsense")


def test_every_reason_is_shown_and_can_be_shown_again(appliance: ApplianceProcess) -> None:
    appliance.settings |= {
        "APPLIANCE_INGEST_REQUIRE_TOKEN": "false",
        "APPLIANCE_INGEST_REQUIRE_PAYLOAD_TOKEN": "true",
        "EDGE_FAILPOINT": "in_a_check",
    }
    appliance.start()
    for _ in range(2):
        rows = show(appliance, "all")
        assert rows.keys() == {reason.value for reason in Reason}
        assert [reason for reason, row in rows.items() if not row["seen"]] == [], rows
    kept = appliance.query("SELECT DISTINCT reason FROM quarantine_events")
    assert {reason for (reason,) in kept} == {reason.value for reason in Reason}
    tenants = {tenant for (tenant,) in appliance.query("SELECT tenant_id FROM tenants WHERE tenant_id LIKE 'sim-%%'")}
    assert tenants == set(DEMO_TENANTS)
    look(appliance.conninfo())
    constraints = appliance.query("SELECT 1 FROM pg_constraint WHERE conname = 'simulated_refusal'")
    assert constraints == [], "the table is as it was"


def test_what_the_defaults_leave_no_way_for_is_said(appliance: ApplianceProcess) -> None:
    appliance.start()
    rows = show(appliance, "all")
    unseen = {reason: row["note"] for reason, row in rows.items() if not row["seen"]}
    assert unseen.keys() == {"TOKEN_MISSING", "UNKNOWN_TENANT", "INTERNAL_ERROR"}
    assert all(note.startswith("needs ") for note in unseen.values())
    held = appliance.query("SELECT DISTINCT reason FROM quarantine_events WHERE status = 'HELD'")
    assert {reason for (reason,) in held} >= HELD_REASONS - {Reason.INTERNAL_ERROR}
