"""The table of checks, and the page that describes it."""

import re

from appliance.doctor.mends import MENDS
from appliance.doctor.table import CHECKS
from tests.support.project import ROOT

PAGE = (ROOT / "docs" / "doctor.md").read_text()


def test_every_check_has_a_name_of_its_own_and_says_what_holds() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    assert all(check.promise.endswith(".") for check in CHECKS)


def test_the_page_lists_every_check_in_order_with_what_it_holds() -> None:
    table = PAGE[PAGE.index("## What it looks at") : PAGE.index("## What it mends")]
    assert re.findall(r"^\| `(\w+)` \| (.*) \|$", table, re.MULTILINE) == [(each.name, each.promise) for each in CHECKS]


def test_the_page_lists_every_mend_and_each_belongs_to_a_check() -> None:
    assert set(re.findall(r"^- `(\w+)`:", PAGE, re.MULTILINE)) == set(MENDS)
    assert {check.mend for check in CHECKS} - {None} == set(MENDS)
