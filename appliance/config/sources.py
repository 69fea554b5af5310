"""The raw value of each key that the configuration file or the environment sets, and its origin.

Enters: the fields of the configuration, a document, the environment. Leaves: a ``Given`` a key, or one
ConfigurationError that names the place, the key and the nearest valid one. Never: a rule between keys.
"""

import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from appliance.config.file import VARIABLE, Document
from appliance.config.lines import KeyPath
from appliance.config.secret import check_readers, read_secret_file
from appliance.config.values import EntryFault, from_text, from_toml, is_secret, resolve
from appliance.errors import ConfigurationError

PREFIX = "APPLIANCE_"
FILE_SUFFIX = "_file"
_ORCHESTRATOR = re.compile(r"APPLIANCE_(SERVICE_(HOST|PORT)|PORT)(_\w+)?")
"""Kubernetes and Docker links set these by themselves beside a service or container named ``appliance``."""


@dataclass(frozen=True, slots=True)
class Field:
    """One key of the configuration."""

    section: str
    """Empty at the top."""
    name: str
    type: Any

    @property
    def key(self) -> str:
        """For example ``broker.port``."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        """For example ``APPLIANCE_BROKER_PORT``."""
        return PREFIX + self.key.replace(".", "_").upper()


@dataclass(frozen=True, slots=True)
class Given:
    """A key that somebody has set."""

    field: Field
    raw: object
    origin: str
    """``file:line`` or ``$VARIABLE``."""
    document: Path
    """The configuration file, or for a variable the present folder: relative paths start there."""
    in_file: bool
    """The value is the path of a file that holds the secret."""
    text: bool
    """The value comes from the environment, as text."""
    entries: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """The ``file:line`` of each entry, of a table in a file."""

    @property
    def label(self) -> str:
        """The key as it was written."""
        return self.field.key + (FILE_SUFFIX if self.in_file else "")

    @property
    def place(self) -> str:
        """The origin, for people."""
        return f"{self.origin} (secret file)" if self.in_file else self.origin

    def value(self) -> object:
        """Return the value in the key's type. Raises ConfigurationError."""
        try:
            if self.in_file:
                return from_text(read_secret_file(self._path()), self.field.type, self._folder)
            if not self.text and is_secret(self.field.type):
                check_readers(self.document, self.label)
            convert: Any = from_text if self.text else from_toml
            return convert(self.raw, self.field.type, self._folder)
        except EntryFault as fault:
            origin = self.entries.get(fault.entry, self.origin)
            entry = _shown(fault.entry)
            raise ConfigurationError(f"{origin}: {self.label}.{entry}: {fault}") from None
        except ValueError as error:
            raise ConfigurationError(f"{self.origin}: {self.label}: {error}") from None

    @property
    def _folder(self) -> Path:
        return self.document if self.text else self.document.absolute().parent

    def _path(self) -> Path:
        if not isinstance(self.raw, str):
            raise ValueError("must be the path of a file that holds the secret")
        return resolve(self.raw, self._folder)


def fields_of(config: type[msgspec.Struct]) -> dict[str, Field]:
    """Return every key of ``config`` by its dotted name, in order; sections are its fields that are structs."""
    found = []
    for top in msgspec.structs.fields(config):
        if isinstance(top.type, type) and issubclass(top.type, msgspec.Struct):
            found += [Field(top.name, inner.name, inner.type) for inner in msgspec.structs.fields(top.type)]
        else:
            found.append(Field("", top.name, top.type))
    return {field.key: field for field in found}


def given_in_file(document: Document, fields: Mapping[str, Field]) -> dict[str, Given]:
    """Return what a configuration file sets. Raises ConfigurationError for a key or section that does not exist."""
    sections = {field.section for field in fields.values()} - {""}
    names = _names(fields)
    found: dict[str, Given] = {}
    for path, raw in _leaves(document.table, sections):
        key = ".".join(path)
        origin = document.place(path)
        if path[0] in sections and len(path) == 1:
            raise ConfigurationError(f"{origin}: {key}: is a section, not a key; write [{key}] on a line of its own")
        if len(path) > 2 or key not in names:
            raise ConfigurationError(f"{origin}: {_written(path)}: unknown {_what(path, raw)}; {_nearest(path, names)}")
        field, in_file = names[key]
        entries = {name: document.place((*path, name)) for name in raw} if isinstance(raw, dict) else {}
        _note(found, Given(field, raw, origin, document.path, in_file, text=False, entries=entries))
    return found


def given_in_environment(environ: Mapping[str, str], fields: Mapping[str, Field]) -> dict[str, Given]:
    """Return what ``APPLIANCE_*`` variables set. Raises ConfigurationError for one that sets nothing."""
    variables = {
        PREFIX + key.replace(".", "_").upper(): (field, in_file) for key, (field, in_file) in _names(fields).items()
    }
    found: dict[str, Given] = {}
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == VARIABLE or _ORCHESTRATOR.fullmatch(variable):
            continue
        if variable not in variables:
            near = _closest(variable, variables)
            raise ConfigurationError(f"${_shown(variable)}: unknown variable; the nearest is ${near}")
        field, in_file = variables[variable]
        _note(found, Given(field, environ[variable], f"${variable}", Path.cwd(), in_file, text=True))
    return found


def _names(fields: Mapping[str, Field]) -> dict[str, tuple[Field, bool]]:
    """Return every name a value can be given by; the flag says that it names a file."""
    names = {key: (field, False) for key, field in fields.items()}
    return names | {key + FILE_SUFFIX: (field, True) for key, field in fields.items() if is_secret(field.type)}


def _leaves(table: Mapping[str, Any], sections: Iterable[str]) -> Iterable[tuple[KeyPath, object]]:
    """Yield every key with its value; tables are entered only where they are sections, and one level deep."""
    for top, value in table.items():
        if top in sections and isinstance(value, dict):
            yield from (((top, name), inner) for name, inner in value.items())
        else:
            yield (top,), value


def _note(found: dict[str, Given], given: Given) -> None:
    other = found.setdefault(given.field.key, given)
    if other is not given:
        raise ConfigurationError(f"{given.origin}: {given.label}: {other.label} is set too ({other.origin}); keep one")


def _what(path: KeyPath, raw: object) -> str:
    return "section" if len(path) == 1 and isinstance(raw, dict) else "key"


def _nearest(path: KeyPath, names: Mapping[str, object]) -> str:
    """Return the key that was probably meant: the same name in another section, else the closest spelling."""
    elsewhere = [key for key in names if key.rpartition(".")[2] == path[-1]]
    section = path[0] if len(path) > 1 else ""
    beside = [key for key in names if key.rpartition(".")[0] == section]
    tops = {key.partition(".")[0] for key in names}
    if elsewhere:
        return f"the nearest is {elsewhere[0]}"
    if section and (close := difflib.get_close_matches(".".join(path), beside, n=1, cutoff=0.0)):
        return f"the nearest is {close[0]}"
    near = _closest(path[0], tops)
    return f"the nearest is {near if near in names else f'[{near}]'}"


def _closest(name: str, candidates: Iterable[str]) -> str:
    return difflib.get_close_matches(name, list(candidates), n=1, cutoff=0.0)[0]


def _written(path: KeyPath) -> str:
    return _shown(".".join(path))


def _shown(name: str) -> str:
    shown = name if name.isprintable() and name else json.dumps(name)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
