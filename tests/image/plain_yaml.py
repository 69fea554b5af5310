"""Read the part of YAML that our compose files use, and refuse the rest: above all what its versions read differently.

Blocks of mappings and lists, comments, and scalars. A plain scalar is refused where YAML 1.1 and 1.2, or one reader and
the next, make different things of it: ``yes``, ``22:22`` (a number to the base of 60), ``010``, ``1e3``, ``~``.
"""

import json
import re
from typing import Any

Line = tuple[int, str, int]
"""Indentation, text, and the number of the line."""

PLAIN = re.compile(r"[A-Za-z./][A-Za-z0-9_./-]*|[0-9]+(?:s|m|g)")
"""Text that needs no quotes: words, paths, and sizes or durations with their unit."""
NUMBER = re.compile(r"0|[1-9][0-9]*")
DOUBTFUL = re.compile(r"y|n|yes|no|on|off|null|nan|\.nan|\.inf", re.IGNORECASE)


class YamlError(ValueError):
    """The text is not in the part of YAML that is read here."""


def read(text: str) -> Any:
    """Return the document as dicts, lists, texts, numbers, booleans and None. Raises YamlError with the line."""
    lines = [_line(line, number) for number, line in enumerate(text.splitlines(), 1)]
    left = [line for line in lines if line[1]]
    found = _block(left, 0)
    if left:
        raise YamlError(f"line {left[0][2]}: indented as nothing above it")
    return found


def _line(line: str, number: int) -> Line:
    text = line.lstrip(" ")
    if "\t" in line or line != line.rstrip():
        raise YamlError(f"line {number}: has a tab, or blanks at its end")
    if text.startswith("#"):
        return 0, "", number
    return len(line) - len(text), re.sub(r'^((?:[^"#]|"[^"]*")*?) +#.*$', r"\1", text).rstrip(), number


def _block(left: list[Line], indent: int) -> Any:
    return _list(left, indent) if left[0][1].startswith("- ") else _mapping(left, indent)


def _list(left: list[Line], indent: int) -> list[Any]:
    found = []
    while left and left[0][0] == indent and left[0][1].startswith("- "):
        _, text, number = left.pop(0)
        found.append(_scalar(text.removeprefix("- "), number))
    return found


def _mapping(left: list[Line], indent: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    while left and left[0][0] == indent:
        _, text, number = left.pop(0)
        match = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_-]*):(?: (.+))?", text)
        if match is None or DOUBTFUL.fullmatch(match[1]):
            raise YamlError(f"line {number}: {text!r} is not KEY: or KEY: VALUE")
        if match[1] in found:
            raise YamlError(f"line {number}: {match[1]} stands there twice")
        if match[2] is not None:
            found[match[1]] = _scalar(match[2], number)
        elif left and left[0][0] == indent + 2:
            found[match[1]] = _block(left, indent + 2)
        else:
            found[match[1]] = None
    return found


def _scalar(text: str, number: int) -> str | int | bool:
    if text.startswith('"'):
        try:
            quoted: str = json.loads(text)
        except ValueError:
            raise YamlError(f"line {number}: {text} is not a text in quotes") from None
        return quoted
    if text in {"true", "false"}:
        return text == "true"
    if NUMBER.fullmatch(text):
        return int(text)
    if DOUBTFUL.fullmatch(text) or not PLAIN.fullmatch(text):
        raise YamlError(f"line {number}: {text} needs quotes")
    return text
