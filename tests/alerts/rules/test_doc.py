"""docs/alert-rules.md tells the truth: its examples are rules, and do what it says of them."""

import json
import re

from appliance.alerts.kinds.kind import KindName
from appliance.alerts.kinds.threshold import MOST_CONDITIONS
from appliance.alerts.kinds.window import DAY, MOST_SLOTS
from appliance.alerts.rules.store import MAX_RULES
from appliance.alerts.rules.validation import draft_of
from tests.alerts.kinds.series import each, happened
from tests.support.project import ROOT

TEXT = (ROOT / "docs" / "alert-rules.md").read_text()
EXAMPLES = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)]


def test_there_is_a_valid_example_of_each_kind() -> None:
    assert {draft_of(example).kind for example in EXAMPLES} == set(KindName)


def test_the_first_example_opens_and_closes_as_the_page_says() -> None:
    (rule,) = [example for example in EXAMPLES if example["kind"] == "threshold"]
    parameters = {name: rule[name] for name in rule if name not in {"name", "severity", "kind", "scope"}}
    values = [-14, -14, -14, -14, -14, -14, -15.5, -16, -16]
    readings = [(at, {"temperature": value, "defrosting": False}) for at, value in each(values, every=60)]
    assert happened(KindName.THRESHOLD, parameters, *readings) == [(300, "opened"), (480, "closed")]


def test_the_bounds_it_names_are_those_of_the_program() -> None:
    assert f"{MAX_RULES:,}" in TEXT
    assert f"{MOST_SLOTS:,} slots" in TEXT
    assert (MOST_CONDITIONS, DAY) == (3, 86_400)
