"""Logging: one event a line, whatever is in it; text for people, JSON for machines; no flood, no secret."""

import io
import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import Log, Secret
from appliance.logs import SAMPLE_BURST, SAMPLE_WINDOW, LogSampler, configure, encode


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        """It is."""
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def _written(log: Log, *, terminal: bool = False, **values: object) -> str:
    stream = Terminal() if terminal else io.StringIO()
    configure(log, stream)
    structlog.get_logger("test").info("postgres started", **values)
    return stream.getvalue()


def test_json_off_a_terminal_and_text_on_one() -> None:
    event = json.loads(_written(Log(), port=5432))
    assert event.pop("timestamp").endswith("Z")
    assert event == {"level": "info", "event": "postgres started", "logger": "test", "port": 5432}
    assert _written(Log(), terminal=True, port=5432)[8:] == " info     postgres started  port=5432\n"


def test_format_can_be_forced() -> None:
    assert _written(Log(format="json"), terminal=True).startswith("{")
    assert not _written(Log(format="text")).startswith("{")


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_masked(form: str) -> None:
    line = _written(Log(format="json" if form == "json" else "text"), url=Secret("hidden"), inside=[Secret("hidden")])
    assert "hidden" not in line
    assert "********" in line


@given(st.text(), st.dictionaries(st.text(min_size=1), st.text() | st.binary() | st.integers(), max_size=2))
def test_no_input_writes_a_line_of_its_own(text: str, inside: dict[str, object]) -> None:
    for form in (Log(format="text"), Log(format="json")):
        line = _written(form, topic=text, inside=inside)
        assert line.endswith("\n")
        body = line[:-1]
        assert len(body.splitlines()) == 1
        assert not {"\x1b", "\x7f"} & set(body)
        assert body.encode()


def test_encoding_of_control_and_direction_characters() -> None:
    assert encode("a\nb\x1b[31m\x85\u202e\u2028\ud800 é 温") == r"a\x0ab\x1b[31m\x85\u202e\u2028\ud800 é 温"


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_cannot_pass_for_an_event(form: str) -> None:
    stream = io.StringIO()
    configure(Log(format="json" if form == "json" else "text"), stream)
    try:
        raise ValueError("bad\n12:00:00 info     all is well")
    except ValueError:
        structlog.get_logger("test").exception("failed", topic="t")
    first, *others = stream.getvalue().splitlines()
    assert "failed" in first
    assert all(line.startswith("    | ") for line in others)
    assert "ValueError: bad" in stream.getvalue()


def test_levels() -> None:
    stream = io.StringIO()
    configure(Log(level="warning"), stream)
    log = structlog.get_logger("test")
    log.info("quiet")
    logging.getLogger("other").info("quiet")
    log.warning("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_a_logger_bound_before_the_set_up_obeys_it() -> None:
    log = structlog.get_logger("early")
    configure(Log(format="text"), io.StringIO())
    log.info("to the first")
    stream = io.StringIO()
    configure(Log(), stream)
    log.info("to the second")
    event = json.loads(stream.getvalue())
    assert event["event"] == "to the second"
    assert event["timestamp"].endswith("Z")


def test_other_libraries_and_warnings_come_the_same_way() -> None:
    stream = io.StringIO()
    configure(Log(), stream)
    logging.getLogger("hypercorn.error").warning("odd %s", "request\n")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["logger"], first["level"]) == ("odd request\n", "hypercorn.error", "warning")
    assert "DeprecationWarning: old" in second["event"]


class ManualClock:
    """A clock that moves when told."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def _passes(sampler: LogSampler, event: str, level: str = "warning") -> structlog.typing.EventDict | None:
    try:
        return sampler(None, level, {"event": event, "logger": "test"})
    except structlog.DropEvent:
        return None


def test_repeated_warnings_are_sampled_and_counted() -> None:
    clock = ManualClock()
    sampler = LogSampler(clock)
    passed = [_passes(sampler, "again") is not None for _ in range(SAMPLE_BURST + 7)]
    assert passed == [True] * SAMPLE_BURST + [False] * 7
    assert _passes(sampler, "another") is not None
    clock.now = SAMPLE_WINDOW
    assert _passes(sampler, "again") == {"event": "again", "logger": "test", "suppressed": 7}
    assert _passes(sampler, "again") == {"event": "again", "logger": "test"}


def test_what_is_no_warning_is_never_sampled() -> None:
    sampler = LogSampler(ManualClock())
    assert all(_passes(sampler, "said", "info") for _ in range(10 * SAMPLE_BURST))


def test_sampling_remembers_a_bounded_number_of_events() -> None:
    sampler = LogSampler(ManualClock())
    for number in range(10_000):
        assert _passes(sampler, f"event {number}") is not None
    assert len(sampler._windows) <= 1000


def test_repeated_warnings_of_the_standard_library_are_left_out_without_a_word(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    configure(Log(format="json"), stream)
    for _ in range(SAMPLE_BURST + 3):
        logging.getLogger("a.library").warning("the wire was lost")
    assert len(stream.getvalue().splitlines()) == SAMPLE_BURST
    assert capsys.readouterr().err == ""
