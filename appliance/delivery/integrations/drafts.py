"""An integration as a person enters it: checked by its type, its destinations judged, its secrets sealed.

Secrets enter in the clear and leave sealed, one by one, each bound to its place. One that the appliance makes itself,
such as the signing secret of a webhook, leaves in the clear once: in the answer to whoever asked for it.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from appliance.delivery.integrations.integration import Integration, secret_purpose
from appliance.delivery.integrations.store import SealedDraft
from appliance.delivery.outgoing.network import Destination, Network, NotAllowed, Unreached
from appliance.delivery.senders.sender import Sender
from appliance.errors import ApplianceError, Conflict, Invalid
from appliance.keyring import Keyring
from appliance.plain_text import is_plain, plain

MAX_NAME = 128
"""Characters of a name, as the database has it."""
MAX_CONCURRENCY = 16
"""Deliveries to one integration at a time, as the database has it."""
CONCURRENCY = 2


@dataclass(frozen=True, slots=True)
class IntegrationDraft:
    """An integration as a person wants it."""

    name: str
    config: Mapping[str, Any]
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)
    """Those that change: a text sets one, None removes it; one that the appliance makes is made anew."""
    enabled: bool = True
    concurrency: int = CONCURRENCY


@dataclass(frozen=True, slots=True)
class Prepared:
    """An integration that may be written."""

    draft: SealedDraft
    made: Mapping[str, str] = field(repr=False)
    """The secrets that the appliance has made, to be shown once."""
    warnings: Sequence[str]
    """What may be wrong, but need not be: a name that cannot be resolved now."""


def sender_of(senders: Mapping[str, Sender], kind: str) -> Sender:
    """Return the type of an integration. Raises Invalid."""
    sender = senders.get(kind)
    if sender is None:
        raise Invalid(f"`type`: choose one of {', '.join(senders)}.", "type")
    return sender


async def prepared(
    draft: IntegrationDraft,
    sender: Sender,
    *,
    tenant_id: str,
    integration_id: UUID,
    kept: Integration | None,
    keyring: Keyring,
    network: Network,
) -> Prepared:
    """Return an integration that may be written, over ``kept`` if it is there already. Reaches out to name servers.

    Raises Invalid with the field; Conflict where a secret that stays cannot be opened any more.
    """
    name = draft.name.strip()
    if not 1 <= len(name) <= MAX_NAME or not is_plain(name):
        raise Invalid(f"`name`: a name has 1 to {MAX_NAME} characters on one line, all of which can be seen.", "name")
    if not 1 <= draft.concurrency <= MAX_CONCURRENCY:
        raise Invalid(f"`concurrency`: write a number from 1 to {MAX_CONCURRENCY}.", "concurrency")
    _check_names(draft.secrets, sender)
    sealed = {} if kept is None else dict(kept.secrets)
    clear = {one: secret for one, secret in draft.secrets.items() if secret}
    made = _generated(draft.secrets, sealed, sender)
    clear |= made
    staying = {one: text for one, text in sealed.items() if one not in draft.secrets}
    whole = opened(tenant_id, integration_id, staying, keyring) | clear
    config = sender.validate(draft.config, whole)
    _check_staying(sender, staying, kept, keyring, sender.destinations(config, whole))
    warnings = await check_destinations(sender, config, whole, network)
    staying |= {one: _sealed(secret, tenant_id, integration_id, one, keyring) for one, secret in clear.items()}
    changed = sorted(clear.keys() | {one for one in draft.secrets if one in sealed})
    return Prepared(SealedDraft(name, draft.enabled, config, staying, draft.concurrency, changed), made, warnings)


def opened(tenant_id: str, integration_id: UUID, sealed: Mapping[str, str], keyring: Keyring) -> dict[str, str]:
    """Return the secrets in the clear, for one try. Raises Conflict if one cannot be opened."""
    found = {}
    for name, text in sealed.items():
        try:
            purpose = secret_purpose(tenant_id, integration_id, name)
            found[name] = keyring.open(base64.b64decode(text), purpose).decode()
        except (ApplianceError, ValueError):
            raise Conflict(
                f"The secret {name} cannot be opened with the keys of this appliance; enter it again."
            ) from None
    return found


async def check_destinations(
    sender: Sender, config: Mapping[str, Any], secrets: Mapping[str, str], network: Network
) -> list[str]:
    """Return what may be wrong with the destinations. Raises Invalid for a refused one.

    A name that cannot be resolved now is judged when it is dialled: whoever saves it may be without a way out.
    """
    warnings = []
    for destination in sender.destinations(config, secrets):
        try:
            await network.check(destination)
        except NotAllowed as refusal:
            field = refusal.field or _address_field(sender)
            raise Invalid(f"`{field}`: {refusal}.", field) from None
        except Unreached as fault:
            why = str(fault).removeprefix("name: ")
            later = "Its address is judged when the first notice is sent; until then nobody is told."
            warnings.append(f"{_address_field(sender)}: {why}. {later}")
    return warnings


def _check_staying(
    sender: Sender,
    staying: Mapping[str, str],
    kept: Integration | None,
    keyring: Keyring,
    destinations: Sequence[Destination],
) -> None:
    """Raise Invalid for a secret that would go to another receiver than whoever entered it meant.

    Otherwise whoever may edit an integration could read its secrets, by sending them to a receiver of their own. What
    only signs is never sent.
    """
    shown = [one for one in sender.fields if one.name in staying and one.secret and one.generate is None]
    if kept is None or not shown:
        return
    before = opened(kept.tenant_id, kept.integration_id, kept.secrets, keyring)
    if list(destinations) != list(sender.destinations(kept.config, before)):
        one = shown[0]
        raise Invalid(
            f"`{one.name}`: it was entered for another receiver; enter it again for this one, or remove it.", one.name
        )


def _address_field(sender: Sender) -> str:
    """Return the field by which people say where a type sends to."""
    fields: Sequence[str] = [one.name for one in sender.fields if one.kind == "url"]
    named = [one.name for one in sender.fields if one.name in ("host", "broker")]
    return next(iter([*fields, *named, *(one.name for one in sender.fields)]))


def _check_names(secrets: Mapping[str, str | None], sender: Sender) -> None:
    known = [one.name for one in sender.fields if one.secret]
    for name in secrets:
        if name not in known:
            shown = plain(name[:64])
            listed = ", ".join(known) or "none"
            raise Invalid(f"`secrets.{shown}`: {sender.label} has no such secret; it has {listed}.", f"secrets.{shown}")


def _generated(given: Mapping[str, str | None], sealed: Mapping[str, str], sender: Sender) -> dict[str, str]:
    """Return the secrets that the appliance makes: those that are missing, and those that a person gives up."""
    made = {}
    for one in sender.fields:
        given_up = one.name in given and not given[one.name]
        if one.generate is not None and (given_up or (one.name not in given and one.name not in sealed)):
            made[one.name] = one.generate()
    return made


def _sealed(secret: str, tenant_id: str, integration_id: UUID, name: str, keyring: Keyring) -> str:
    return base64.b64encode(keyring.seal(secret.encode(), secret_purpose(tenant_id, integration_id, name))).decode()
