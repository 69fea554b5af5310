"""The actions on alert rules, for pages and the API: one transaction of the current viewer each."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from appliance.alerts.kinds.kind import KindName
from appliance.alerts.rules import store
from appliance.alerts.rules.store import RuleFilter, RulePosition, Sort, TenantRule
from appliance.alerts.rules.validation import RuleDraft, changed, draft_of
from appliance.db.require import require
from appliance.errors import Invalid, Outdated
from appliance.severity import Severity
from appliance.web.access.transactions import tenant_of, tenants_shown
from appliance.web.page import cursor
from appliance.web.platform import Platform


class RuleQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rules, in which order. A rule matches a parameter with several values if it matches one of them."""

    q: Annotated[str, Meta(max_length=200, description="Words in name, description, metric or scope.")] = ""
    enabled: bool | None = None
    failing: Annotated[bool, Meta(description="Only rules that raised an error since they were last saved.")] = False
    severity: tuple[Severity, ...] = ()
    kind: tuple[KindName, ...] = ()
    sort: Annotated[Sort, Meta(description="`severity`: worst first, then by name.")] = Sort.SEVERITY
    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, Meta(max_length=1000)] = ""


class RuleActions:
    """The rules as the current viewer may see and change them."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._access = platform.access

    async def page(self, asked: RuleQuery) -> tuple[list[TenantRule], str | None]:
        """Return a page of rules, and the cursor of the next one if there is one. Raises Invalid for a wrong query."""
        after = cursor.read(asked.cursor, RulePosition)
        async with self._access.reading() as connection:
            kept = await store.list_page(
                connection,
                filter_of(asked, tenants_shown()),
                now=self._access.now(),
                limit=asked.limit + 1,
                sort=asked.sort,
                after=after,
            )
        following = kept[asked.limit - 1].position if len(kept) > asked.limit else None
        return kept[: asked.limit], cursor.write(following)

    async def get(self, rule_id: str) -> TenantRule:
        """Return one rule. Raises NotFound."""
        async with self._access.reading() as connection:
            return await store.get(connection, tenant_of(), rule_of_path(rule_id), now=self._access.now())

    async def create(self, draft: RuleDraft) -> TenantRule:
        """Make a rule. Raises Invalid past the most; Conflict if the name is taken; NotFound."""
        async with self._access.changing() as connection:
            return await store.create(connection, tenant_of(), draft, self._access.context())

    async def change(self, rule_id: UUID, draft: RuleDraft, version: datetime | None) -> TenantRule:
        """Replace a whole rule. Raises NotFound; Conflict if the name is taken or it has changed since ``version``."""
        async with self._access.changing() as connection:
            return await store.change(connection, tenant_of(), rule_id, draft, self._access.context(), version=version)

    async def edit(self, rule_id: str, changes: Mapping[str, Any], version: datetime | None) -> TenantRule:
        """Change the given fields of a rule; null removes one. Raises Invalid with the field, and as :meth:`change`."""
        identity, tenant_id, context = rule_of_path(rule_id), tenant_of(), self._access.context()
        async with self._access.changing() as connection:
            kept = await store.get(connection, tenant_id, identity, now=context.now)
            if version not in (None, kept.version):
                raise Outdated(f"Rule {kept.rule.name} was changed by someone else; read it again.")
            draft = draft_of(changed(kept.flat(), changes), built_in=kept.rule.built_in)
            return await store.change(connection, tenant_id, identity, draft, context, version=kept.version)

    async def set_enabled(self, rule_id: str, *, enabled: bool) -> TenantRule:
        """Switch a rule on or off. Raises NotFound."""
        async with self._access.changing() as connection:
            return await store.set_enabled(
                connection, tenant_of(), rule_of_path(rule_id), enabled=enabled, context=self._access.context()
            )

    async def delete(self, rule_id: str) -> None:
        """Delete a rule. Raises NotFound; Conflict for the built-in one."""
        async with self._access.changing() as connection:
            await store.delete(connection, tenant_of(), rule_of_path(rule_id), self._access.context())


def filter_of(asked: RuleQuery, tenant_id: str | None) -> RuleFilter:
    """Return the filter of a query. Raises Invalid for text that Postgres cannot compare."""
    if "\0" in asked.q:
        raise Invalid("This holds characters that cannot be shown.", "q")
    return RuleFilter(tenant_id, asked.enabled, asked.failing, asked.severity, asked.kind, asked.q)


def rule_of_path(rule_id: str) -> UUID:
    """Return the id of a rule. Raises NotFound for text that is none."""
    try:
        identity = UUID(rule_id)
    except ValueError:
        identity = None
    return require(identity, "such rule")
