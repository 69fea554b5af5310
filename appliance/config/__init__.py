"""The configuration: ``appliance.toml`` and ``APPLIANCE_*`` variables as frozen structs.

Enters: a file, the environment. Leaves: ``Loaded``, or one ConfigurationError that names the place, the key, what is
wrong and what is allowed. Never: a started service, a secret in a message. Other packages import this one face only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from appliance.config import file as config_file
from appliance.config.consistency import faults, warnings
from appliance.config.schema import (
    FIELDS,
    Alerts,
    Backup,
    Broker,
    Config,
    Database,
    Ingest,
    Limits,
    Log,
    Presence,
    Provisioning,
    Quarantine,
    Retention,
    Subscriptions,
    Web,
    default_data_dir,
    masked,
    value_of,
)
from appliance.config.secret import MASK, Secret, weakness
from appliance.config.sources import given_in_environment, given_in_file
from appliance.errors import ConfigurationError

__all__ = ["FIELDS", "MASK", "Alerts", "Backup", "Broker", "Config", "Database", "Ingest", "Limits", "Loaded", "Log"]
__all__ += ["Presence", "Provisioning", "Quarantine", "Retention", "Secret", "Subscriptions", "Web"]
__all__ += ["default_data_dir", "load", "locate_data_dir", "masked", "value_of", "warnings", "weakness"]

DEFAULT = "default"
"""The origin of a value that neither the file nor the environment gives."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration, and where each value came from."""

    config: Config
    origins: Mapping[str, str]
    """Of every key in ``FIELDS``: ``file:line``, ``$VARIABLE`` or ``default``."""
    file: Path | None
    """The configuration file that was read."""

    def value(self, key: str) -> Any:
        """Return the effective value of a key, for example ``broker.port``."""
        return value_of(self.config, key)


def load(path: Path | None, environ: Mapping[str, str]) -> Loaded:
    """Read the configuration: the file (``path`` or a standard place), then ``environ`` over it.

    Raises ConfigurationError, one line, for the first fault.
    """
    file = config_file.locate(path, environ)
    in_file = {} if file is None else given_in_file(config_file.read(file), FIELDS)
    in_environment = given_in_environment(environ, FIELDS)
    for given in in_file.values():
        # a value that the environment overrides must be right too, or it bites on the day the variable goes
        if given.field.key in in_environment and not given.in_file:
            given.value()
    winners = in_file | in_environment
    config = _build({key: given.value() for key, given in winners.items()}, file)
    origins = {key: winners[key].place if key in winners else DEFAULT for key in FIELDS}
    for keys, fault in faults(config):
        key = next((key for key in keys if origins[key] != DEFAULT), keys[0])
        raise ConfigurationError(f"{origins[key]}: {key}: {fault}")
    return Loaded(config, origins, file)


def locate_data_dir(path: Path | None, environ: Mapping[str, str]) -> Path:
    """Return ``data_dir`` alone. A fault elsewhere in the configuration does not matter if the environment gives it.

    Raises ConfigurationError.
    """
    field = FIELDS["data_dir"]
    if field.variable not in environ:
        return load(path, environ).config.data_dir
    given = given_in_environment({field.variable: environ[field.variable]}, FIELDS)[field.key]
    folder: Path = given.value()  # type: ignore[assignment]
    return folder


def _build(values: Mapping[str, Any], file: Path | None) -> Config:
    """Return the configuration with ``values`` by dotted key over the defaults."""
    sections: dict[str, dict[str, Any]] = {field.section: {} for field in FIELDS.values()}
    for key, value in values.items():
        sections[FIELDS[key].section][FIELDS[key].name] = value
    top = {"data_dir": default_data_dir(file)} | sections.pop("")
    default = Config(**top)
    changed = {name: msgspec.structs.replace(getattr(default, name), **inner) for name, inner in sections.items()}
    return msgspec.structs.replace(default, **changed)
