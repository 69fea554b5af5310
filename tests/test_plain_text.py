"""What may stand in a name, and what may not."""

import pytest

from appliance.plain_text import is_plain, plain

UNSEEN = [*range(0x20), 0x7F, 0x85, 0x9F, 0xAD, 0x200B, 0x200E, 0x2028, 0x2029, 0x202A, 0x202E, 0x2066, 0x2067, 0x2068]
UNSEEN += [0x2069, 0xD800, 0xFEFF, 0xE0041]


@pytest.mark.parametrize("code", UNSEEN, ids=hex)
def test_what_is_not_seen_is_in_no_name(code: int) -> None:
    assert not is_plain(f"Freezer{chr(code)}1")
    assert plain(f"Freezer{chr(code)}1") == "Freezer 1"


@pytest.mark.parametrize(
    "text",
    ["", "Cold room 1", "Kjøl & frys, öst", "冷蔵庫\u30001号", "\u0645\u06cc\u200c\u062e\u0648", "👩\u200d🔧", "°C"],
)
def test_names_of_all_languages_are_plain(text: str) -> None:
    assert is_plain(text)
    assert plain(text) == text


def test_several_unseen_signs_are_one_blank() -> None:
    assert plain("a\r\nb") == "a b"


def test_notes_may_have_lines() -> None:
    assert is_plain("first\n\tsecond", lines=True)
    assert not is_plain("first\nsecond")
    assert not is_plain("first\rsecond", lines=True)
