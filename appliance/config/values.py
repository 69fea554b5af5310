"""Convert one raw value, from TOML or from the environment, to the type of its key, or say what is wrong with it.

Enters: a value and a key's annotated type. Leaves: a value of that type, or a ValueError whose text says what is
allowed. Never: a file, the environment, or a secret in an error.
"""

import json
import math
import os
import re
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

from appliance.config.secret import Secret

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
"""ASCII only: Python reads digits of every script."""
_FRACTION = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?|[+-]?(inf|nan)", re.IGNORECASE)
MAX_NAME = 256
"""Characters of the name of an entry in a table, as of every text that a subscription has."""
_NAME = re.compile(rf"\S(.{{0,{MAX_NAME - 2}}}\S)?")
_USERINFO = re.compile(r"//.*@")
"""User and password in an address."""
_BOOLEANS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "on": True, "off": False}
_TOML_NAMES: dict[type, str] = {
    bool: "a boolean", int: "a whole number", float: "a fraction", str: "text", list: "a list", dict: "a table",
    datetime: "a date and time", date: "a date", time: "a time of day",
}  # fmt: skip


class EntryFault(ValueError):
    """What is wrong with one entry of a table."""

    def __init__(self, entry: str, message: str) -> None:
        super().__init__(message)
        self.entry = entry


def is_secret(annotation: Any) -> bool:
    """Return whether a key of this type holds a secret."""
    kind, _ = _kind(annotation)
    return isinstance(kind, inspect.CustomType) and kind.cls is Secret


def from_toml(value: object, annotation: Any, folder: Path) -> object:
    """``value`` as TOML gave it, as the key's type; relative paths start in ``folder``. Raises ValueError."""
    kind, allowed = _kind(annotation)
    if isinstance(kind, inspect.CustomType):
        if not isinstance(value, str):
            raise ValueError(f"must be {allowed}, not {_TOML_NAMES[type(value)]}")
        return _custom(kind, value, folder)
    if isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        return _items(value, annotation, kind, strict=True)
    if isinstance(kind, inspect.DictType) and isinstance(value, dict):
        return _entries(value, annotation, kind)
    try:
        return msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        raise ValueError(f"must be {allowed}, not {shown(value)}") from None


def from_text(text: str, annotation: Any, folder: Path) -> object:
    """``text`` of an environment variable as the key's type. Raises ValueError."""
    kind, allowed = _kind(annotation)
    value: object = text
    if isinstance(kind, inspect.VarTupleType):
        return _items([part.strip() for part in text.split(",") if part.strip()], annotation, kind, strict=False)
    if isinstance(kind, inspect.DictType):
        return _entries(_pairs(text, kind), annotation, kind)
    if isinstance(kind, inspect.BoolType):
        value = _BOOLEANS.get(text.strip().lower(), text)
    elif isinstance(kind, inspect.IntType) and _INTEGER.fullmatch(text.strip()):
        value = int(text)
    elif isinstance(kind, inspect.FloatType):
        value = _number(text)
    if value == "":
        raise ValueError(f"is empty; it must be {allowed}, or not be set at all")
    return from_toml(value, annotation, folder)


def resolve(text: str, folder: Path) -> Path:
    """Return the absolute path of ``text``, seen from ``folder``. Raises ValueError."""
    if not text or not text.isprintable():
        raise ValueError("must be a path without control characters")
    if text.startswith("~"):
        raise ValueError("must be an absolute path: ~ is not expanded, as it differs between users")
    return Path(os.path.normpath(folder.absolute() / text))


def shown(value: object) -> str:
    """Return a value for an error: short, on one line, without control characters."""
    if isinstance(value, dict | list | datetime | date | time):
        return _TOML_NAMES[type(value)]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = _USERINFO.sub("//***@", json.dumps(value))
    return text if len(text) <= 60 else f"{text[:57]}..."


def _kind(annotation: Any) -> tuple[inspect.Type, str]:
    """Return the type of a key without its optional part and metadata, and in words what it allows."""
    kind = inspect.type_info(annotation)
    if isinstance(kind, inspect.UnionType):
        kind = next(part for part in kind.types if not isinstance(part, inspect.NoneType))
    description = None
    if isinstance(kind, inspect.Metadata):
        description = (kind.extra_json_schema or {}).get("description")
        kind = kind.type
    return kind, description or _words(kind)


def _items(values: list[Any], annotation: Any, kind: inspect.VarTupleType, *, strict: bool) -> object:
    """Return a list of the key's type; without ``strict`` its items are text. Raises ValueError, with the item."""
    for value in values:
        try:
            msgspec.convert([value], annotation, strict=strict)
        except msgspec.ValidationError:
            raise ValueError(f"its item {shown(value)} must be {_item_words(kind.item_type)}") from None
    try:
        return msgspec.convert(values, annotation, strict=strict)
    except msgspec.ValidationError:
        raise ValueError(f"has {len(values)} items, which are too many") from None


def _pairs(text: str, kind: inspect.DictType) -> dict[str, object]:
    """Return the entries of ``NAME=NUMBER,NAME=NUMBER``. Raises ValueError; EntryFault for a name given twice."""
    found: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, sign, number = (piece.strip() for piece in part.rpartition("="))
        if not sign:
            words = _item_words(kind.value_type)
            raise ValueError(f"its item {shown(part)} must be NAME=NUMBER, where NUMBER is {words}")
        if name in found:
            raise EntryFault(name, "is given twice; keep one")
        found[name] = int(number) if _INTEGER.fullmatch(number) else number
    return found


def _entries(values: dict[str, Any], annotation: Any, kind: inspect.DictType) -> object:
    """Return a table in the key's type. Raises EntryFault, which names the entry; ValueError for too many."""
    for name, value in values.items():
        if not (name.isprintable() and _NAME.fullmatch(name)):
            raise EntryFault(name, f"a name has 1 to {MAX_NAME} characters that can be shown, and no space at its ends")
        try:
            msgspec.convert({name: value}, annotation)
        except msgspec.ValidationError:
            raise EntryFault(name, f"must be {_item_words(kind.value_type)}, not {shown(value)}") from None
    try:
        return msgspec.convert(values, annotation)
    except msgspec.ValidationError:
        raise ValueError(f"has {len(values)} entries, which are more than {kind.max_length}") from None


def _item_words(item: inspect.Type) -> str:
    if isinstance(item, inspect.Metadata):
        return str((item.extra_json_schema or {}).get("description") or _words(item.type))
    return _words(item)


def _words(kind: inspect.Type) -> str:
    match kind:
        case inspect.VarTupleType():
            return f"a list, each item {_item_words(kind.item_type)}"
        case inspect.DictType():
            return f"a table of names, each with {_item_words(kind.value_type)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number from {kind.ge} to {kind.le}"
        case inspect.FloatType():
            return f"a number from {kind.ge:g} to {kind.le:g}"
        case inspect.LiteralType():
            return "one of " + ", ".join(json.dumps(choice) for choice in kind.values)
        case inspect.CustomType() if kind.cls is Path:
            return "a path"
        case _:
            return "text"


def _custom(kind: inspect.CustomType, text: str, folder: Path) -> object:
    if kind.cls is Path:
        return resolve(text, folder)
    if not text or not text.isprintable():
        raise ValueError("must be text without control characters, and not empty")
    return Secret(text)


def _number(text: str) -> object:
    return float(text) if _FRACTION.fullmatch(text.strip()) else text
