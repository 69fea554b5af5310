"""The form of an integration, made of the fields of its type: what was typed, what is filled in, what becomes of it.

A control is called ``config.NAME`` or ``secrets.NAME`` after its field. Secrets are never filled in: an empty control
keeps the one that is set, and a tick removes it, or has it made anew where the appliance makes it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from appliance.delivery.integrations.drafts import CONCURRENCY, IntegrationDraft
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.senders.sender import Field, Sender
from appliance.errors import Invalid
from appliance.web.page.forms import WHOLE, Fields

MAX_VALUE = 100_000
"""Characters of one control: a bundle of certificates is the longest."""
MAX_DIGITS = 9
REMOVE = "remove"
"""The control that lists the secrets to remove."""


@dataclass(frozen=True, slots=True)
class Given:
    """The form as it is filled in; without secrets."""

    name: str = ""
    config: Mapping[str, str] = field(default_factory=dict)
    """By field: its text, ``on`` or empty for a switch."""
    enabled: bool = True
    concurrency: str = str(CONCURRENCY)
    version: str = ""
    remove: Sequence[str] = ()
    typed_secrets: bool = False
    """Whether secrets were typed: they have to be typed again."""


@dataclass(frozen=True, slots=True)
class Control:
    """One field of the form."""

    field: Field
    value: str
    kept: bool
    """Whether a secret is set."""
    remove: bool

    @property
    def name(self) -> str:
        """Return the name of the control."""
        return control_of(self.field)

    @property
    def long(self) -> bool:
        """Return whether it has several lines."""
        return self.field.kind in ("lines", "pem")


@dataclass(frozen=True, slots=True)
class Controls:
    """The fields of a form in the places where it shows them."""

    main: Sequence[Control]
    generated: Sequence[Control]
    """Secrets that the appliance makes."""
    rare: Sequence[Control]
    """Behind a fold."""

    def folded(self, fault: str) -> bool:
        """Return whether the fold may stay closed: nothing of it is filled in, or wrong."""
        names = {one.field.name for one in self.rare}
        return fault not in names | {"concurrency"} and not any(one.value for one in self.rare)


def control_of(one: Field) -> str:
    """Return the name of the control of a field."""
    return f"{'secrets' if one.secret else 'config'}.{one.name}"


def blank(sender: Sender) -> Given:
    """Return the form of a new integration."""
    return Given(config={one.name: _text(one, one.default) for one in sender.fields if not one.secret})


def filled(kept: Integration, sender: Sender) -> Given:
    """Return the form of an integration as it is kept."""
    return Given(
        kept.name,
        {one.name: _text(one, kept.config.get(one.name)) for one in sender.fields if not one.secret},
        kept.enabled,
        str(kept.concurrency),
        str(kept.version),
    )


def typed(fields: Fields, sender: Sender) -> Given:
    """Return the form as it was sent, valid or not."""
    return Given(
        fields.typed("name"),
        {one.name: fields.typed(control_of(one)) for one in sender.fields if not one.secret},
        fields.typed("enabled") == "on",
        fields.typed("concurrency"),
        fields.typed("version"),
        fields.many(REMOVE),
        any(fields.typed(control_of(one)) for one in sender.fields if one.secret),
    )


def controls(sender: Sender, given: Given, kept: Integration | None) -> Controls:
    """Return the fields of a type as the form shows them."""
    secrets = {} if kept is None else kept.secrets
    every = [
        Control(one, given.config.get(one.name, ""), one.name in secrets, one.name in given.remove)
        for one in sender.fields
    ]
    return Controls(
        [one for one in every if one.field.generate is None and one.field.kind != "pem"],
        [one for one in every if one.field.generate is not None],
        [one for one in every if one.field.kind == "pem"],
    )


def draft_of(fields: Fields, sender: Sender) -> IntegrationDraft:
    """Return the integration that was typed. Raises Invalid with the field."""
    config, secrets = {}, dict[str, str | None]()
    remove = set(fields.many(REMOVE))
    for one in sender.fields:
        if one.secret:
            text = fields.raw(control_of(one), most=MAX_VALUE)
            if text or one.name in remove:
                secrets[one.name] = text or None
        else:
            value = _value(one, fields)
            if value not in (None, ""):
                config[one.name] = value
    concurrency = _whole(fields.text("concurrency", most=20), "concurrency")
    return IntegrationDraft(
        fields.text("name", most=1000),
        config,
        secrets,
        fields.flag("enabled"),
        CONCURRENCY if concurrency is None else concurrency,
    )


def version_of(fields: Fields) -> int | None:
    """Return the version that an edit started from, None if the form has none. Raises Invalid."""
    return _whole(fields.text("version", most=20), "version")


def switched(kept: Integration, *, enabled: bool) -> IntegrationDraft:
    """Return an integration that is turned on or off."""
    return IntegrationDraft(kept.name, dict(kept.config), {}, enabled, kept.concurrency)


def _value(one: Field, fields: Fields) -> Any:
    control = control_of(one)
    if one.kind == "switch":
        return fields.flag(control)
    text = fields.raw(control, most=MAX_VALUE)
    return _whole(text, one.name) if one.kind == "number" else text


def _whole(text: str, name: str) -> int | None:
    text = text.strip()
    if not text:
        return None
    if not WHOLE.fullmatch(text) or len(text) > MAX_DIGITS:
        raise Invalid("Write a whole number.", name)
    return int(text)


def _text(one: Field, value: Any) -> str:
    if one.kind == "switch":
        return "on" if value else ""
    if isinstance(value, list | tuple):
        return "\n".join(map(str, value))
    return "" if value is None else str(value)
