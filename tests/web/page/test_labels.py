"""Labels of reasons."""

import pytest

from appliance.reading import HELD_REASONS, Reason
from appliance.web.page.labels import REASONS, reason_label, tenant_title


@pytest.mark.parametrize("reason", Reason)
def test_each_reason_has_words(reason: Reason) -> None:
    label = REASONS[reason]
    assert label.title[0].isupper()
    assert len(label.title) <= 24, "it stands in a narrow column"
    assert "_" not in label.title
    assert label.advice.endswith(".")


def test_no_two_reasons_read_the_same() -> None:
    assert len({label.title for label in REASONS.values()}) == len(REASONS)


def test_nothing_is_said_to_be_held_that_is_not() -> None:
    for reason, label in REASONS.items():
        assert ("held" in label.advice) <= (reason in HELD_REASONS), reason


def test_a_code_of_a_newer_version_stands_for_itself() -> None:
    assert reason_label("FROM_THE_FUTURE").title == "FROM_THE_FUTURE"


def test_the_appliances_own_tenant_has_a_name_for_operators() -> None:
    assert [tenant_title(tenant_id) for tenant_id in (None, "acme", "appliance")] == [
        "All tenants", "acme", "This appliance",
    ]  # fmt: skip
