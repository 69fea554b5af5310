"""Names of time zones, held against the data of this machine and of the package."""

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from appliance import zones

SYSTEM = Path("/usr/share/zoneinfo")
PACKAGE = files("tzdata.zoneinfo")
NEITHER = {"Factory", "UTC", "Etc/GMT"} | {f"Etc/GMT{hours:+}" for hours in range(-14, 13) if hours}
"""Present names that belong to no country; Factory is no zone."""
LINKED = {"EST", "MST", "HST", "EST5EDT", "CST6CDT", "MST7MDT", "PST8PDT", "CET", "MET", "EET", "WET"}
"""Zones of their own until 2024b made them links."""

DAYS = [datetime(2026, 1, 1, 12, tzinfo=UTC) + timedelta(days=days) for days in range(0, 12 * 365, 9)]
"""Enough to meet each span between two changes of the clock."""


@pytest.fixture(params=["package", *(["system"] if (SYSTEM / "tzdata.zi").exists() else [])])
def data(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the tables of one source of time zones: the zones, and what each country has."""
    names = ("tzdata.zi", "zone.tab")
    if request.param == "package":
        return {name: (PACKAGE / name).read_text() for name in names}
    return {name: (SYSTEM / name).read_text() for name in names}


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Let what is kept of the names be looked up anew, before and after."""
    kept = (zones.known, zones.choices, zones._by_small_letters)
    for one in kept:
        one.cache_clear()
    yield
    for one in kept:
        one.cache_clear()


def named(data: dict[str, str]) -> Iterator[str]:
    for line in data["tzdata.zi"].splitlines():
        kind, *words = line.split()
        if kind == "Z":
            yield words[0]
        elif kind == "L":
            yield words[1]


def of_countries(data: dict[str, str]) -> set[str]:
    lines = (line for line in data["zone.tab"].splitlines() if not line.startswith("#"))
    return {line.split("\t")[2] for line in lines}


def test_every_name_of_each_source_is_present_or_known_as_old(data: dict[str, str]) -> None:
    present = of_countries(data) | NEITHER
    assert set(named(data)) - present - zones.PRESENT_NAMES.keys() == set()
    assert set(zones.PRESENT_NAMES.values()) - present == set()
    assert zones.PRESENT_NAMES.keys() & present == set(), "a present name is never replaced"
    assert zones.PRESENT_NAMES.keys() - set(named(data)) - LINKED == set(), "no invented ones"


def test_a_present_name_shows_the_times_of_the_old_one() -> None:
    for old, present in zones.PRESENT_NAMES.items():
        if old in zones.known():
            for day in DAYS:
                offsets = {day.astimezone(ZoneInfo(name)).utcoffset() for name in (old, present)}
                assert len(offsets) == 1, (old, present, day)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("US/Eastern", "America/New_York"),
        ("us/eastern", "America/New_York"),
        ("Asia/Calcutta", "Asia/Kolkata"),
        ("Europe/Kiev", "Europe/Kyiv"),
        ("GB", "Europe/London"),
        ("Etc/UTC", "UTC"),
        ("utc", "UTC"),
        ("GMT", "Etc/GMT"),
        ("etc/gmt+5", "Etc/GMT+5"),
        (" Europe/Oslo ", "Europe/Oslo"),
        ("EUROPE/OSLO", "Europe/Oslo"),
        ("Europe/Oslo", "Europe/Oslo"),
    ],
)
def test_a_zone_is_stored_by_its_present_name_in_its_own_case(given: str, stored: str) -> None:
    assert (zones.name_of(given), zones.fault_of(given)) == (stored, None)


@pytest.mark.parametrize(
    "given",
    [
        "", " ", "Europe", "Europe/", "/Europe/Oslo", "Europe/Oslo/", "Europe//Oslo", "./Europe/Oslo",
        "right/Europe/Oslo", "posix/Europe/Oslo", "Factory", "factory", "localtime", "posixrules", "../etc/passwd",
        "../../../../etc/passwd", "/etc/localtime", "zone.tab", "tzdata.zi", "Europe/Oslo\0", "Mars/Base", "+01:00",
        "EST5EDT4", "CET-1CEST", "\N{FULLWIDTH LATIN CAPITAL LETTER U}TC", "x" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_zone_is_refused_with_the_mend(given: str) -> None:
    assert zones.name_of(given) is None
    assert zones.fault_of(given) == "there is no such time zone; choose one by its name, for example Europe/Oslo"
    assert zones.refusal(given) == "There is no such time zone; choose one by its name, for example Europe/Oslo."


def test_only_present_names_are_offered_and_what_is_stored_stays_in_the_list() -> None:
    offered = zones.choices()
    assert set(offered) & (zones.PRESENT_NAMES.keys() | zones.NO_ZONES) == set()
    assert {"UTC", "Europe/Oslo", "America/New_York", "Asia/Kolkata"} < set(offered)
    assert list(offered) == sorted(offered)
    assert [value for value, _ in zones.choices_with("Europe/Oslo")] == list(offered)
    assert dict(zones.choices_with("Europe/Atlantis"))["Europe/Atlantis"].startswith("Europe/Atlantis (unknown to this")
    assert "Asia/Calcutta" in dict(zones.choices_with_old())["Asia/Kolkata"].split()


@pytest.mark.usefixtures("forgetful")
def test_a_machine_without_data_has_utc_and_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "available_timezones", set)
    assert zones.choices() == ("UTC",)
    assert zones.name_of("Etc/UTC") == "UTC"
    for given in ("Europe/Oslo", "US/Eastern", "America/New_York"):
        fault = zones.fault_of(given)
        assert fault is not None
        assert fault.startswith("this machine has no data of ")
        assert "install the tzdata" in fault


@pytest.mark.usefixtures("forgetful")
def test_an_old_name_is_kept_where_the_machine_does_not_know_the_present_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zones, "available_timezones", lambda: {"America/Godthab", "Europe/Oslo"})
    assert zones.name_of("America/Godthab") == "America/Godthab"
    assert zones.name_of("America/Nuuk") is None
    assert (zones.fault_of("America/Nuuk") or "").startswith("this machine has no data of America/Nuuk; install")


def test_the_package_fills_what_the_system_lacks_and_the_system_comes_first() -> None:
    known, searched = zones.known(), zoneinfo.TZPATH
    assert known >= set((files("tzdata") / "zones").read_text().split()) - zones.NO_ZONES
    try:
        zoneinfo.reset_tzpath(())
        ZoneInfo.clear_cache()
        assert datetime(2026, 7, 1, tzinfo=ZoneInfo("Europe/Oslo")).utcoffset() == timedelta(hours=2)
    finally:
        zoneinfo.reset_tzpath(searched)
        ZoneInfo.clear_cache()
