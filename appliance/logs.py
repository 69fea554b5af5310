"""Logging: one event a line on standard output, text for people or JSON for machines.

Enters: events of structlog and of the standard library. Leaves: lines. Never: a secret (they mask themselves), a
control character (they are encoded, so that no input can write a line of its own), a flood (repeated warnings are
sampled).
"""

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from appliance.config import Log

SAMPLE_BURST = 5
"""Warnings of one event that are written in a window; the others are counted."""
SAMPLE_WINDOW = 60.0
"""Seconds. Five a minute can be read, and do not fill a disk."""
_MAX_EVENTS = 1000
"""Events that are remembered for sampling; names are constants of the program, so this is never reached in practice."""

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # C0, DEL, C1: line ends, terminal escapes
    "\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff"  # invisible and direction-changing signs, line separators
    "\ud800-\udfff]"  # lone surrogates, which no encoding takes
)


def configure(log: Log, stream: IO[str] | None = None) -> None:
    """Send every event to ``stream`` (standard output) as ``log`` says. Calling again replaces what was set up."""
    stream = sys.stdout if stream is None else stream
    text = log.format == "text" or (log.format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        LogSampler(time.monotonic),
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if text else "iso", utc=not text),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,  # modules bind their logger at import, before this runs
    )
    handler = _LineHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.PositionalArgumentsFormatter(), *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                render_text if text else render_json,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(log.level.upper())
    # It writes the headers of answers at debug level, in which a receiver can send a secret back.
    logging.getLogger("httpcore2").setLevel(logging.INFO)
    logging.captureWarnings(capture=True)


class _LineHandler(logging.StreamHandler[IO[str]]):
    """Writes lines, but for those of the standard library that are left out: nobody else there knows that exception."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(structlog.DropEvent):
            super().emit(record)


@dataclass(slots=True)
class _Window:
    opened: float
    written: int = 0
    dropped: int = 0


class LogSampler:
    """A processor that lets the first warnings and errors of an event pass in each window, and counts the others.

    The first of the next window carries ``suppressed``, how many were left out before it.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._windows: dict[tuple[str, str], _Window] = {}

    def __call__(self, _logger: WrappedLogger, level: str, event: EventDict) -> EventDict:
        if level in {"debug", "info"}:
            return event
        now = self._clock()
        key = (str(event.get("logger")), str(event.get("event")))
        window = self._windows.get(key)
        if window is None:
            if len(self._windows) >= _MAX_EVENTS:
                self._windows.clear()
            window = self._windows[key] = _Window(now)
        elif now - window.opened >= SAMPLE_WINDOW:
            if window.dropped:
                event["suppressed"] = window.dropped
            window = self._windows[key] = _Window(now)
        if window.written >= SAMPLE_BURST:
            window.dropped += 1
            raise structlog.DropEvent
        window.written += 1
        return event


def render_json(_logger: WrappedLogger, _level: str, event: EventDict) -> str:
    """One JSON object in ASCII; what JSON does not know is written as its ``str``."""
    head = {key: event.pop(key) for key in ("timestamp", "level", "event") if key in event}
    return json.dumps({**head, **event}, default=str).replace("\x7f", "\\u007f")


def render_text(_logger: WrappedLogger, _level: str, event: EventDict) -> str:
    """``12:00:01 warning  event  key=value``; a traceback is set in, so that none of its lines passes for an event."""
    moment, level, name = (event.pop(key, "") for key in ("timestamp", "level", "event"))
    event.pop("logger", None)
    trace = event.pop("exception", None)
    line = f"{moment} {level:<8} {encode(name)}"
    if event:
        line += "  " + " ".join(f"{key}={_quoted(value)}" for key, value in event.items())
    if trace:
        line += "".join(f"\n    | {encode(part)}" for part in str(trace).splitlines())
    return line


def encode(value: object) -> str:
    """``value`` as text, with control and invisible characters written as escapes."""
    return _UNSAFE.sub(_escape, str(value))


def _quoted(value: Any) -> str:
    text = encode(value)
    return f'"{text}"' if " " in text or not text else text


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
