"""The copies that still have what a deletion has removed, and when each of them goes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from appliance.backup import folder as nightly
from appliance.offboarding.kept_copies import CopyKind, CopyPlaces, KeptCopy, kept_copies, made_before
from appliance.upgrade import copies as upgrades

AT = datetime(2026, 5, 1, 3, 15, 2, tzinfo=UTC)
DAY = timedelta(days=1)
NOW = AT + 9 * DAY
OURS, OTHERS = "0123456789ab", "ba9876543210"


@pytest.fixture
def places(tmp_path: Path) -> CopyPlaces:
    """A data folder and a folder of backups, each with a copy or two and what is none."""
    data, backups = tmp_path / "data", tmp_path / "backups"
    for folder in (data / upgrades.FOLDER, data / "replaced-20260430T031502Z", data / "replaced-mine", backups):
        folder.mkdir(parents=True)
    for name in ("replaced-20260430T031502Z-2", "replaced-20261301T031502Z"):
        (data / name).mkdir()
    (data / upgrades.FOLDER / upgrades.name_of(37, 40, AT)).touch()
    for copy in upgrades.find(data):
        copy.keep_from(AT)
    for name in (nightly.name_of(OURS, AT + DAY), nightly.name_of(OURS, AT + 2 * DAY), nightly.name_of(OTHERS, AT)):
        (backups / name).touch()
    return CopyPlaces(data, OURS, backups, keep=7)


def test_each_copy_says_when_it_goes(places: CopyPlaces) -> None:
    assert places.folder is not None
    aside = str(places.data_dir / "replaced-20260430T031502Z")
    before = str(places.data_dir / upgrades.FOLDER / upgrades.name_of(37, 40, AT))
    first, second = (str(places.folder / nightly.name_of(OURS, AT + days * DAY)) for days in (1, 2))
    assert kept_copies(places, NOW) == [
        KeptCopy(CopyKind.REPLACED, aside, AT - DAY),
        KeptCopy(CopyKind.REPLACED, f"{aside}-2", AT - DAY),
        KeptCopy(CopyKind.UPGRADE, before, AT, until=AT + timedelta(days=30)),
        KeptCopy(CopyKind.BACKUP, first, AT + DAY, newer_backups=6),
        KeptCopy(CopyKind.BACKUP, second, AT + 2 * DAY, newer_backups=7),
    ]


def test_a_backup_goes_after_as_many_nights_as_the_folder_says(places: CopyPlaces) -> None:
    assert places.folder is not None
    (first, *_) = [copy for copy in kept_copies(places, NOW) if copy.kind is CopyKind.BACKUP]
    names, at = [path.name for path in places.folder.iterdir()], AT + 2 * DAY
    for night in range(1, 8):
        newest = nightly.name_of(OURS, at + night * DAY)
        names.append(newest)
        gone = nightly.surplus(names, OURS, keep=places.keep, now=at + night * DAY, newest=newest)
        if Path(first.path).name in gone:
            break
    assert night == first.newer_backups


def test_only_what_was_made_before_has_what_was_removed(places: CopyPlaces) -> None:
    found = kept_copies(places, NOW)
    assert made_before(found, AT + DAY, NOW) == found[:4]
    assert made_before(found, AT - 2 * DAY, NOW) == []
    assert made_before(found, None, NOW) == found, "while it is there, every copy may have it"


def test_what_cannot_be_read_is_no_empty_list(places: CopyPlaces, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="unmounted"):
        kept_copies(CopyPlaces(places.data_dir, OURS, tmp_path / "unmounted", 7), NOW)
    assert kept_copies(CopyPlaces(tmp_path / "none", OURS, None, 7), NOW) == [], "nothing was ever started here"


def test_a_copy_of_a_wrong_clock_may_have_it_too_and_its_end_is_not_promised(places: CopyPlaces) -> None:
    """Named by a clock that was ahead, or made while the service time stood still."""
    assert places.folder is not None
    ahead = places.folder / nightly.name_of(OURS, NOW + 900 * DAY)
    ahead.touch()
    [doubtful] = upgrades.find(places.data_dir)
    doubtful.keep_from(None)
    found = {copy.path: copy for copy in made_before(kept_copies(places, NOW), AT + DAY, NOW)}
    assert found[str(ahead)] == KeptCopy(CopyKind.BACKUP, str(ahead), NOW + 900 * DAY)
    assert found[str(doubtful.path)] == KeptCopy(CopyKind.UPGRADE, str(doubtful.path), AT)
    newer = [copy.newer_backups for copy in kept_copies(places, NOW) if copy.kind is CopyKind.BACKUP]
    assert newer == [6, 7, None], "it does not count among those that push others out"
