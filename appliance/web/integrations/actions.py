"""The actions on integrations, for pages and the API: one transaction of the current viewer each.

Name servers and receivers are asked outside of transactions: a slow one holds no connection to the database.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import trio

from appliance.db.require import require
from appliance.delivery.integrations import store
from appliance.delivery.integrations.drafts import IntegrationDraft, opened, prepared, sender_of
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.integrations.sample import sample
from appliance.delivery.integrations.store import IntegrationFilter, IntegrationPosition, KnownIntegration
from appliance.delivery.senders.sender import Outcome, Sender, Target
from appliance.errors import Busy, Conflict, Outdated
from appliance.web.access.transactions import tenant_of
from appliance.web.integrations.port import IntegrationsPort
from appliance.web.page import cursor
from appliance.web.platform import Platform

TESTS_AT_ONCE = 8
"""Samples that are being sent by this process; each takes as long as the deadlines allow."""
GIVEN_UP_AFTER = 5.0
"""Seconds after the deadline of a try at which a sender that has not kept to it is cut off."""
CLOCKS_APART = 300.0
"""Seconds between our clock and a receiver's from which receivers refuse signatures."""


@dataclass(frozen=True, slots=True)
class Made:
    """An integration that was written, with the secrets that the appliance made for it: to be shown once."""

    known: KnownIntegration
    secrets: dict[str, str]
    warnings: Sequence[str]
    """What may be wrong with it."""


@dataclass(frozen=True, slots=True)
class Tested:
    """How a sample went."""

    outcome: Outcome
    hint: str | None
    """What else may be wrong."""


class IntegrationActions:
    """The integrations as the current viewer may see and change them. Ids of paths: no id raises NotFound."""

    def __init__(self, platform: Platform, port: IntegrationsPort) -> None:
        self.platform = platform
        self.senders = port.senders
        self._port = port
        self._access = platform.access
        self._tests = trio.CapacityLimiter(TESTS_AT_ONCE)

    async def page(
        self, wanted: IntegrationFilter, limit: int, after: str
    ) -> tuple[Sequence[KnownIntegration], str | None]:
        """Return a page of integrations, and the cursor of the next one if there is one. Raises Invalid."""
        position = cursor.read(after, IntegrationPosition)
        async with self._access.reading() as connection:
            found = await store.list_page(connection, wanted, limit=limit + 1, after=position)
        following = found[limit - 1].position if len(found) > limit else None
        return found[:limit], cursor.write(following)

    async def get(self, integration_id: str) -> KnownIntegration:
        """Return one integration. Raises NotFound."""
        async with self._access.reading() as connection:
            return await store.get(connection, tenant_of(), integration_of_path(integration_id))

    async def create(self, kind: str, draft: IntegrationDraft) -> Made:
        """Make an integration. Raises Invalid with the field; Conflict if the name is taken; NotFound."""
        tenant_id, identity = tenant_of(), uuid4()
        sender = sender_of(self.senders, kind)
        ready = await prepared(
            draft,
            sender,
            tenant_id=tenant_id,
            integration_id=identity,
            kept=None,
            keyring=self._port.keyring,
            network=self._port.network,
        )
        async with self._access.changing() as connection:
            context = self._access.context()
            made = await store.create(connection, tenant_id, identity, kind, ready.draft, context)
        return Made(made, dict(ready.made), ready.warnings)

    async def edit(
        self, integration_id: str, edited: Callable[[Integration], IntegrationDraft], version: int | None
    ) -> Made:
        """Replace an integration by what ``edited`` makes of it.

        Raises Invalid with the field; NotFound; Conflict if it has changed since ``version``, or the name is taken.
        """
        tenant_id, identity = tenant_of(), integration_of_path(integration_id)
        kept = (await self.get(integration_id)).integration
        if version not in (None, kept.version):
            raise Outdated(f"{kept.name} was changed by someone else; read it again.")
        ready = await prepared(
            edited(kept),
            sender_of(self.senders, kept.type),
            tenant_id=tenant_id,
            integration_id=identity,
            kept=kept,
            keyring=self._port.keyring,
            network=self._port.network,
        )
        async with self._access.changing() as connection:
            context = self._access.context()
            changed = await store.change(connection, tenant_id, identity, ready.draft, context, version=kept.version)
        return Made(changed, dict(ready.made), ready.warnings)

    async def delete(self, integration_id: str) -> None:
        """Delete an integration. Raises NotFound; Conflict while routes lead to it."""
        async with self._access.changing() as connection:
            identity = integration_of_path(integration_id)
            await store.delete(connection, tenant_of(), identity, self._access.context())

    async def test(self, integration_id: str, url: str) -> Tested:
        """Send a marked sample through the real path; ``url`` is the address of the dashboard, for its link.

        Raises NotFound; Conflict if a secret cannot be opened; Busy while many samples are being sent.
        """
        tenant_id, kept = tenant_of(), (await self.get(integration_id)).integration
        sender = sender_of(self.senders, kept.type)
        secrets = opened(tenant_id, kept.integration_id, kept.secrets, self._port.keyring)
        missing = [one.label for one in sender.fields if one.secret and one.required and one.name not in secrets]
        if missing:
            raise Conflict(f"{kept.name} cannot send without {', '.join(missing)}; enter it first.")
        outcome = await self._send(sender, kept.name, Target(tenant_id, kept.config, secrets), url)
        async with self._access.changing() as connection:
            await store.record_test(connection, kept, outcome.verdict.value, self._access.context())
        return Tested(outcome, self._hint(outcome))

    async def try_out(self, integration_id: str | None, kind: str, draft: IntegrationDraft, url: str) -> Tested:
        """Send a marked sample by what was typed, over an integration that is there or for a new one; keep nothing.

        The secrets that stay are used, unless it leads to another receiver now. Raises Invalid with the field;
        NotFound; Conflict if a secret cannot be opened; Busy while many samples are being sent.
        """
        tenant_id = tenant_of()
        kept = None if integration_id is None else (await self.get(integration_id)).integration
        sender = sender_of(self.senders, kind if kept is None else kept.type)
        identity = uuid4() if kept is None else kept.integration_id
        named = replace(draft, name=draft.name.strip() or sender.label)  # a name is not needed for this
        ready = await prepared(
            named,
            sender,
            tenant_id=tenant_id,
            integration_id=identity,
            kept=kept,
            keyring=self._port.keyring,
            network=self._port.network,
        )
        secrets = opened(tenant_id, identity, ready.draft.secrets, self._port.keyring)
        outcome = await self._send(sender, named.name, Target(tenant_id, ready.draft.config, secrets), url)
        of = None if kept is None else kept.integration_id
        async with self._access.changing() as connection:
            context = self._access.context()
            await store.record_trial(connection, tenant_id, of, named.name, outcome.verdict.value, context)
        return Tested(outcome, self._hint(outcome))

    async def _send(self, sender: Sender, name: str, target: Target, url: str) -> Outcome:
        """Send a sample once. Raises Busy while many are being sent; Conflict if it takes too long."""
        notice = sample(target.tenant_id, self.platform.instance, url, self._access.now())
        try:
            self._tests.acquire_nowait()
        except trio.WouldBlock:
            raise Busy("Many samples are being sent just now; try again in a moment.") from None
        try:
            with trio.fail_after(self._port.network.deadlines.total + GIVEN_UP_AFTER):
                return await sender.send(target, notice, self._port.network)
        except trio.TooSlowError:
            raise Conflict(f"{name} took longer than any receiver may; the sample was given up.") from None
        finally:
            self._tests.release()

    def _hint(self, outcome: Outcome) -> str | None:
        if outcome.answered_at is None:
            return None
        apart = outcome.answered_at.timestamp() - self.platform.clock.now()
        if abs(apart) < CLOCKS_APART:
            return None
        minutes = round(abs(apart) / 60)
        which = "behind" if apart > 0 else "ahead of"
        return (
            f"The clock of this appliance is {minutes:,} min {which} that of the receiver."
            " Receivers refuse signatures of another time: check both clocks."
        )


def integration_of_path(text: str) -> UUID:
    """Return the id of an integration. Raises NotFound."""
    try:
        found = UUID(text)
    except ValueError:
        found = None
    return require(found if str(found) == text.lower() else None, "such integration")


def edited_config(kept: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration with the changes: null removes a field."""
    return {name: value for name, value in {**kept, **changes}.items() if value is not None}
