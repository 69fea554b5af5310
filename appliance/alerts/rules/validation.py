"""Reads a rule from what a person or a program sends: one flat JSON object, as the API documents it.

The fields of every rule and those of its kind's parameters stand beside one another. Whatever does not fit raises
Invalid with its field and what to write there. The same object is made of a rule again, to be edited.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from appliance.alerts.kinds.fields import Fields
from appliance.alerts.kinds.kind import KindName, Parameters
from appliance.alerts.kinds.no_data import NoDataParameters
from appliance.alerts.kinds.table import KINDS
from appliance.alerts.rules.rule import AlertRule, Scope
from appliance.devices.device import IDENTIFIER, MAX_TEXT
from appliance.errors import Invalid
from appliance.plain_text import is_plain
from appliance.severity import Severity

MAX_NAME = 128
"""Characters of a rule's name, as the database has it."""
MAX_DESCRIPTION = 2000
MAX_LISTED = 1000
"""Entries of each list of a scope."""
COMMON = ("name", "description", "enabled", "severity", "kind", "scope")
"""The fields of every rule; all others are parameters of its kind."""
SCOPE_IDS = "an id has 1 to 64 of A-Z a-z 0-9 . _ - and does not start with a dot"
EVERY_DEVICE = Scope()


@dataclass(frozen=True, slots=True)
class RuleDraft:
    """A rule as a person wants it. It is valid."""

    name: str
    severity: Severity
    kind: KindName
    parameters: Parameters
    description: str = ""
    enabled: bool = True
    scope: Scope = EVERY_DEVICE


def draft_of(given: Mapping[str, Any], *, built_in: str | None = None) -> RuleDraft:
    """Return the rule that a flat object describes; ``built_in`` names it if it is the one that every tenant has.

    Raises Invalid with the field.
    """
    fields = Fields({name: given[name] for name in COMMON if name in given}, COMMON)
    kind = KindName(fields.choice("kind", tuple(KindName)))
    enabled = fields.get("enabled")
    if enabled is not None and not isinstance(enabled, bool):
        raise fields.fault("enabled", "write true or false")
    return RuleDraft(
        name=_name(fields),
        severity=Severity(fields.choice("severity", tuple(Severity))),
        kind=kind,
        parameters=_parameters(kind, given, built_in),
        description=_description(fields),
        enabled=enabled is not False,
        scope=scope_of(fields.get("scope")),
    )


def flat(rule: AlertRule | RuleDraft) -> dict[str, Any]:
    """Return the flat object of a rule: :func:`draft_of` makes the same rule of it."""
    scope = {name: list(values) for name, values in msgspec.structs.asdict(rule.scope).items() if values}
    common = {
        "name": rule.name,
        "description": rule.description,
        "enabled": rule.enabled,
        "severity": rule.severity.value,
        "kind": rule.kind.value,
    }
    parameters: dict[str, Any] = msgspec.to_builtins(rule.parameters)
    return {**common, **parameters, "scope": scope}


def changed(before: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flat object ``before`` with the changes: null removes a field; another kind drops all parameters."""
    kept = before
    if changes.get("kind") not in (None, before.get("kind")):
        kept = {name: value for name, value in before.items() if name in COMMON}
    return {name: value for name, value in {**kept, **changes}.items() if value is not None}


def scope_of(given: Any) -> Scope:
    """Return a scope; None is every device. Raises Invalid with the field."""
    if given is None:
        return Scope()
    if not isinstance(given, Mapping):
        raise Invalid("`scope`: write an object with site_ids, tags, device_prefixes or device_ids.", "scope")
    fields = Fields(given, Scope.__struct_fields__, "scope.")
    return Scope(
        site_ids=_listed(fields, "site_ids", IDENTIFIER, SCOPE_IDS),
        tags=_listed(fields, "tags", re.compile(f".{{1,{MAX_TEXT}}}"), f"a tag has 1 to {MAX_TEXT} characters"),
        device_prefixes=_listed(fields, "device_prefixes", IDENTIFIER, "a prefix is the start of a device id"),
        device_ids=_listed(fields, "device_ids", IDENTIFIER, SCOPE_IDS),
    )


def _listed(fields: Fields, name: str, wanted: "re.Pattern[str]", mend: str) -> tuple[str, ...]:
    given = fields.get(name)
    if given is None:
        return ()
    if not isinstance(given, list | tuple):
        raise fields.fault(name, "write a list of texts")
    if len(given) > MAX_LISTED:
        raise fields.fault(name, f"list at most {MAX_LISTED}")
    for one in given:
        if not isinstance(one, str) or not wanted.fullmatch(one) or not is_plain(one):
            raise fields.fault(name, mend)
    return tuple(dict.fromkeys(given))


def _name(fields: Fields) -> str:
    name = fields.get("name")
    if not isinstance(name, str) or not 1 <= len(name.strip()) <= MAX_NAME or not is_plain(name):
        raise fields.fault("name", f"a name has 1 to {MAX_NAME} characters on one line, all of which can be seen")
    return name.strip()


def _description(fields: Fields) -> str:
    text = fields.get("description") or ""
    if not isinstance(text, str) or len(text) > MAX_DESCRIPTION or not is_plain(text.replace("\r\n", "\n"), lines=True):
        mend = f"a description is text of at most {MAX_DESCRIPTION} characters, all of which can be seen"
        raise fields.fault("description", mend)
    return text


def _parameters(kind: KindName, given: Mapping[str, Any], built_in: str | None) -> Parameters:
    parameters: Parameters = KINDS[kind].parse({name: value for name, value in given.items() if name not in COMMON})
    if isinstance(parameters, NoDataParameters):
        if built_in is None and parameters.seconds is None:
            raise Invalid("`seconds`: write how many seconds of silence open an alert.", "seconds")
        if built_in is not None and parameters.metric is not None:
            raise Invalid("`metric`: leave it out; the built-in rule is about devices that send nothing.", "metric")
    return parameters
