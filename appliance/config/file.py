"""The configuration file: which one is read, and its text as a TOML table with the line of every key."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.config.lines import KeyPath, key_lines
from appliance.errors import ConfigurationError

VARIABLE = "APPLIANCE_CONFIG"
STANDARD_PLACES = (Path("appliance.toml"), Path("/etc/appliance/appliance.toml"))
_MAX_FILE = 1_048_576
"""Bytes; the complete commented default has about 7,000."""
_PLACE = re.compile(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file as read."""

    path: Path
    table: dict[str, Any]
    lines: Mapping[KeyPath, int]

    @property
    def folder(self) -> Path:
        """The folder in which its relative paths start."""
        return self.path.absolute().parent

    def place(self, key: KeyPath) -> str:
        """``file:line`` of a key, for people."""
        return f"{name(self.path)}:{self.lines.get(key, 1)}"


def locate(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Return the file to read: ``path``, else ``$APPLIANCE_CONFIG``, else the first standard place that exists.

    Return None when none exists: then the built-in defaults apply. A file that was named must exist.
    """
    if path is not None:
        return path
    if VARIABLE in environ:
        if not environ[VARIABLE]:
            raise ConfigurationError(f"${VARIABLE}: is empty; it must name a file, or not be set at all")
        return Path(environ[VARIABLE])
    return next((place for place in STANDARD_PLACES if os.path.lexists(place)), None)


def read(path: Path) -> Document:
    """Return the file at ``path``. Raises ConfigurationError with the place and what is wrong there."""
    text = _text(path)
    try:
        table = tomllib.loads(text)
        return Document(path, table, key_lines(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(_toml_fault(path, text, str(error))) from None
    except RecursionError:
        raise ConfigurationError(f"{name(path)}:1: nested too deeply") from None
    except ValueError as error:  # a number with more digits than Python converts
        raise ConfigurationError(f"{name(path)}:1: not valid TOML: {_one_line(str(error))}") from None


def name(path: Path) -> str:
    """Return a path as an error shows it: never more than one line."""
    return _one_line(str(path))


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise ConfigurationError(
                f"{name(path)}: is a directory; name the file, for example {path / 'appliance.toml'}"
            )
        with path.open("rb") as file:
            content = file.read(_MAX_FILE + 1)
    except (OSError, ValueError) as error:  # ValueError: NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"{name(path)}: cannot read the configuration file: {reason}") from None
    if len(content) > _MAX_FILE:
        raise ConfigurationError(f"{name(path)}: is larger than {_MAX_FILE} bytes; is it the right file?")
    return _decoded(path, content)


def _decoded(path: Path, content: bytes) -> str:
    """Return the text with ``\\n`` line ends. Common faults of editors that TOML forbids get clear errors."""
    try:
        text = content.decode().replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{name(path)}:{line}: not UTF-8 text; save the file as UTF-8") from None
    for sign, words in (
        ("\ufeff", "starts with a byte order mark; save the file as UTF-8 without one"),
        ("\0", "a NUL character; is it a text file?"),
        ("\r", "a carriage return that ends no line; save the file with plain line ends"),
    ):
        if (at := text.find(sign)) >= 0 and (sign != "\ufeff" or at == 0):
            raise ConfigurationError(f"{name(path)}:{text.count(chr(10), 0, at) + 1}: {words}")
    return text


def _toml_fault(path: Path, text: str, message: str) -> str:
    match = _PLACE.fullmatch(message)
    what, line, column = match.groups() if match else (message, None, None)
    if line is None:
        return (
            f"{name(path)}:{text.rstrip().count(chr(10)) + 1}: not valid TOML: {_one_line(what)} at the end of the file"
        )
    return f"{name(path)}:{line}: not valid TOML: {_one_line(what)} (column {column})"


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]
