"""Output of a child is cut into lines that are safe to log."""

from hypothesis import given
from hypothesis import strategies as st

from appliance.children.lines import CUT, MAX_LINE_BYTES, LineSplitter, printable


def test_control_characters_cannot_forge_a_line() -> None:
    assert printable("a\r\x1b[2Jb\u2028c") == "a\\r\\x1b[2Jb\\u2028c"


def test_bytes_that_are_no_text_are_shown() -> None:
    assert LineSplitter().feed(b"caf\xe9\n") == ["caf\\xe9"]


def test_an_endless_line_is_cut_once_and_the_next_is_whole() -> None:
    splitter = LineSplitter()
    lines = [line for _ in range(10) for line in splitter.feed(b"x" * 3000)]
    lines += splitter.feed(b"\nnext\n")
    assert lines == ["x" * MAX_LINE_BYTES + CUT, "next"]


def test_an_unfinished_last_line_is_not_lost() -> None:
    splitter = LineSplitter()
    assert splitter.feed(b"one\ntw") == ["one"]
    assert splitter.end() == ["tw"]
    assert splitter.end() == []


@given(st.lists(st.binary(max_size=30)), st.integers(min_value=1, max_value=7))
def test_chunks_do_not_matter(raw: list[bytes], size: int) -> None:
    stream = b"".join(part.replace(b"\n", b"") + b"\n" for part in raw)
    chunked = LineSplitter()
    pieces = [line for i in range(0, len(stream), size) for line in chunked.feed(stream[i : i + size])]
    assert pieces == LineSplitter().feed(stream)
    assert all(line.isprintable() for line in pieces)
