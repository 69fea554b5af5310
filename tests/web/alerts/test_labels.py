"""Every code of an alert has its label."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from appliance.alerts.actions import AlertOutcome
from appliance.alerts.alert import AlertType, CloseReason, Status
from appliance.alerts.lifecycle import AlertStep
from appliance.alerts.store import AlertSort, AlertTab
from appliance.alerts.timeline import TimelineKind
from appliance.severity import Severity
from appliance.web.alerts import labels
from appliance.web.audit.labels import ACTIONS


@pytest.mark.parametrize(
    ("table", "codes"),
    [
        (labels.SEVERITIES, Severity),
        (labels.ALERT_TYPES, AlertType),
        (labels.STATUSES, Status),
        (labels.TABS, AlertTab),
        (labels.SORTS, AlertSort),
        (labels.CLOSE_REASONS, CloseReason),
        (labels.TIMELINE, TimelineKind),
        (labels.STEPS, AlertStep),
        (labels.OUTCOMES, AlertOutcome),
    ],
)
def test_every_code_has_a_label_of_its_own(table: Mapping[Any, str], codes: type[StrEnum]) -> None:
    assert set(table) == set(codes)
    assert len(set(table.values())) == len(table)


def test_every_step_has_a_label_in_the_audit() -> None:
    assert {f"alert.{step}" for step in AlertStep} | {"alert.note"} <= set(ACTIONS)
