"""When a disk is low and full: a table, hysteresis, and a debt that has to be paid before it goes on."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.disk.levels import (
    MIB,
    RESERVE_FILES,
    DiskState,
    Judgement,
    Room,
    levels_of_bytes,
    levels_of_files,
    may_reserve,
)

GIB = 1024 * MIB
OK, LOW, FULL = DiskState.OK, DiskState.LOW, DiskState.FULL
SIZES = [260_000_000, 260 * MIB, 400 * MIB, 2 * GIB, 16 * GIB, 500 * GIB, 16 * 1024 * GIB]


def room(total: int, free: int, files: int = 0, free_files: int = 0) -> Room:
    return Room(total, free, files, free_files)


@pytest.mark.parametrize("total", SIZES)
def test_levels_lie_in_order_on_every_disk(total: int) -> None:
    levels = levels_of_bytes(total)
    assert 24 * MIB <= levels.full < levels.full_over < levels.low < levels.low_over
    assert levels.full_over + levels.reserve < total * 0.4, "most of the disk is for readings"


def test_the_reserve_grows_with_the_disk_and_stays_small() -> None:
    sizes = [levels_of_bytes(total).reserve // MIB for total in (100 * MIB, 800 * MIB, 2 * GIB, 100 * GIB)]
    assert sizes == [32, 50, 64, 64]


def test_a_disk_becomes_low_then_full_and_stays_full_until_what_was_given_back_can_be_taken_again() -> None:
    total = 400 * MIB
    levels = levels_of_bytes(total)
    told = Judgement()
    path = [
        (levels.low, 0, OK),
        (levels.low - 1, 0, LOW),
        (levels.low_over - 1, 0, LOW),
        (levels.full, 0, LOW),
        (levels.full - 1, 0, FULL),
        # the reserve comes back: there is more room than before, and all of it is owed
        (levels.full - 1 + levels.reserve, levels.reserve, FULL),
        (levels.full_over - 1 + levels.reserve, levels.reserve, FULL),
        (levels.full_over + levels.reserve, levels.reserve, LOW),
        (levels.low_over, 0, OK),
    ]
    for free, owed, expected in path:
        told = told.after(room(total, free), owed, 0)
        assert told.state is expected, (free, owed)


def test_a_disk_without_a_reserve_is_full_only_when_it_is() -> None:
    total = 2 * GIB
    levels = levels_of_bytes(total)
    judged = Judgement().after(room(total, levels.full), levels.reserve, RESERVE_FILES)
    assert judged.state is LOW, "an older version made none: nothing stops for that"
    assert not may_reserve(room(total, levels.full), levels.reserve, RESERVE_FILES)


def test_the_end_of_inodes_is_a_full_disk_of_its_own() -> None:
    levels = levels_of_files()
    much = room(GIB, GIB, 10_000, levels.full - 1)
    judged = Judgement().after(much, 0, 0)
    assert (judged.of_bytes, judged.of_files, judged.state) == (OK, FULL, FULL)
    assert str(judged.text(much)).startswith("the disk has no room for files: less than 64 of 10000 inodes were free")
    enough = replace(much, free_files=levels.full_over + RESERVE_FILES)
    assert judged.after(enough, 0, RESERVE_FILES).state is not FULL


def test_a_file_system_without_a_number_of_inodes_is_judged_by_its_bytes_alone() -> None:
    assert Judgement().after(room(GIB, GIB, 0, 0), 0, 0).state is OK


def test_the_text_does_not_change_with_every_byte() -> None:
    total = 260 * MIB
    low, none = room(total, MIB), room(total, 0)
    judged = Judgement().after(low, 0, 0)
    assert judged.text(low) == judged.after(none, 0, 0).text(none)
    assert str(judged.text(low)).startswith("the disk is full: less than 25 MB of 273 MB were free")


@given(total=st.sampled_from(SIZES), steps=st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30))
def test_whatever_comes_a_full_disk_is_never_called_less_without_room_for_the_reserve(
    total: int, steps: list[tuple[float, bool]]
) -> None:
    levels, judged = levels_of_bytes(total), Judgement()
    for share, held in steps:
        owed = 0 if held else levels.reserve
        before, judged = judged, judged.after(room(total, int(share * total)), owed, 0)
        if before.state is FULL and judged.state is not FULL:
            assert may_reserve(room(total, int(share * total)), owed, 0)
        if before.state is not FULL:
            assert (judged.state is FULL) == (int(share * total) < levels.full)
