"""Local days are reckoned by Python's zoneinfo alone; Postgres, browsers and other libraries have other rules."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.project import ROOT

SQL = re.compile(
    r"""\b(?:
      at\s+time\s+zone\s+(?!'UTC') | at\s+local\b | timezone\s*\(
    | date_trunc\s*\(\s*'(?!second|minute)\w+'\s*,(?![^;]*?,\s*'UTC'\s*\))
    | extract\s*\(\s*(?!epoch)\w+ | date_part\s*\( | make_timestamptz\s*\(
    )
    | (?<!\))::date\b(?<!\w\)s::date)(?<!\bd::date) | set\s+(?:local\s+)?timezone\s*=\s*'(?!UTC)""",
    re.IGNORECASE | re.VERBOSE,
)
"""Every way of Postgres to find a day or an hour of a zone but UTC."""

PYTHON = re.compile(
    r"\b(?:zoneinfo|pytz|dateutil|tzlocal|arrow|pendulum|babel)\b.*\bimport\b|\bimport\s+(?:zoneinfo|pytz|tzlocal)\b"
    r"|\bfrom\s+(?:zoneinfo|pytz|dateutil|tzlocal)\b|\.astimezone\(\)|\bmktime\(|\bstrptime\([^)]*%Z"
)
SCRIPT = re.compile(
    r"\bIntl\.DateTimeFormat|\btimeZone\b|\btzDate\b|\bget(?:Date|Day|Month|FullYear|Hours|Minutes|TimezoneOffset)\("
    r"|\bset(?:Date|Month|FullYear|Hours|Minutes)\(|\btoLocale(?:Date|Time)String\("
)

MAY_PYTHON = {"local_time.py", "zones.py"}
MAY_SCRIPT = {
    "device-chart.js": "labels of a chart that is being zoomed; steps and days come from the server",
    "set-up.js": "the name of the browser's zone, to offer it",
}


def statements() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "sql").rglob("*.sql")):
        text = re.sub(r"--[^\n]*|COMMENT ON .*?;\n", "", path.read_text(), flags=re.DOTALL)
        yield path.name, text


def test_no_statement_reckons_local_days() -> None:
    found = [(name, match[0]) for name, text in statements() for match in SQL.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT ts AT TIME ZONE 'Europe/Oslo'", "SELECT ts at time zone t.time_zone", "SELECT timezone(z, ts)",
        "SELECT date_trunc('day', ts)", "SELECT date_trunc('day', ts, t.time_zone)", "SELECT ts::date",
        "SELECT created::date",
        "SELECT extract(hour FROM ts)", "SELECT date_part('dow', ts)", "SET timezone = 'Europe/Oslo'",
    ],
)  # fmt: skip
def test_a_statement_that_did_would_be_found(text: str) -> None:
    assert SQL.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "ts AT TIME ZONE 'UTC'",
        "date_trunc('hour', ts, 'UTC')",
        "extract(epoch FROM ts)",
        "(h AT TIME ZONE 'UTC')::date",
    ],
)
def test_utc_is_none(text: str) -> None:
    assert SQL.search(text) is None


def test_one_module_knows_the_rules_of_zones_and_no_other_library_does() -> None:
    found = {path.name for path in (ROOT / "appliance").rglob("*.py") if PYTHON.search(path.read_text())}
    assert found == MAY_PYTHON
    required = (ROOT / "requirements.txt").read_text().lower()
    assert not re.search(r"^(?:pytz|python-dateutil|tzlocal|arrow|pendulum|babel)==", required, re.MULTILINE)


def test_no_script_reckons_local_days() -> None:
    scripts: list[Path] = sorted((ROOT / "static").glob("*.js"))
    found = {path.name for path in scripts if SCRIPT.search(path.read_text())}
    assert found == MAY_SCRIPT.keys()
