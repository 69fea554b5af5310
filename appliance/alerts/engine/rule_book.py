"""The rules in force and the devices that they watch, in memory.

Rules are read whole: all at the start, and those of a tenant again when the database tells of a change. Devices come
when they are heard: the engine builds a watch for each within the transaction of its first batch. What is told of
changes is noted at once and applied between two batches, so that nothing moves while a batch is tried.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec
import psycopg
import structlog
import trio

from appliance.alerts.engine.changes import Key
from appliance.alerts.engine.plan import Plan, PlannedRule, plan_of
from appliance.alerts.engine.watch import Watch
from appliance.alerts.kinds.table import KINDS
from appliance.alerts.rules.rule import AlertRule, Scope
from appliance.backoff import Backoff
from appliance.devices.live.state import DeviceKey
from appliance.runtime.activity import activity

RULES_CHANNEL = "appliance_rules"
DIFFERENT_PLANS = 10_000
"""Plans of one tenant that devices share; past it they are made anew."""

EVERYWHERE = Scope()

log = structlog.get_logger(__name__)


class LoadRules(Protocol):
    """Reads the rules in force of the tenants, None for all."""

    async def __call__(self, tenants: Sequence[str] | None) -> Sequence[AlertRule]:
        """Return the rules that are enabled and can be read."""
        ...


class _Reach:
    """Which of numbered rules are about a device, found without asking each of them."""

    __slots__ = ("_by_device", "_by_site", "_by_tag", "_everywhere", "_prefixes")

    def __init__(self, scopes: Sequence[Scope]) -> None:
        self._everywhere: list[int] = []
        self._by_site: dict[str, list[int]] = {}
        self._by_tag: dict[str, list[int]] = {}
        self._by_device: dict[str, list[int]] = {}
        self._prefixes: list[tuple[str, int]] = []
        for number, scope in enumerate(scopes):
            if scope == EVERYWHERE:
                self._everywhere.append(number)
            for table, names in (
                (self._by_site, scope.site_ids),
                (self._by_tag, scope.tags),
                (self._by_device, scope.device_ids),
            ):
                for name in names:
                    table.setdefault(name, []).append(number)
            self._prefixes += [(prefix, number) for prefix in scope.device_prefixes]

    @property
    def scoped(self) -> bool:
        """Return whether sites and tags of devices must be known."""
        return bool(self._by_site or self._by_tag)

    def covering(self, device_id: str, site_id: str | None, tags: Iterable[str]) -> tuple[int, ...]:
        """Return the rules about a device, in order."""
        found = {*self._everywhere, *self._by_device.get(device_id, ())}
        if site_id is not None:
            found.update(self._by_site.get(site_id, ()))
        for tag in tags:
            found.update(self._by_tag.get(tag, ()))
        found.update([number for prefix, number in self._prefixes if device_id.startswith(prefix)])
        return tuple(sorted(found))


class TenantRules:
    """The rules of one tenant, and the plans made of them."""

    __slots__ = ("_judged", "_plans", "_reach", "_rules")

    def __init__(self, rules: Iterable[AlertRule]) -> None:
        self._rules = [
            rule for rule in rules if KINDS[rule.kind].step is not None or rule.parameters.metric is not None
        ]
        self._judged = [None if KINDS[rule.kind].step is None else PlannedRule(rule) for rule in self._rules]
        """None: a timer judges it, and must know when its metric last came."""
        self._reach = _Reach([rule.scope for rule in self._rules])
        self._plans: dict[tuple[int, ...], Plan] = {}

    @property
    def judging(self) -> bool:
        """Return whether any rule needs to see readings."""
        return bool(self._rules)

    @property
    def size(self) -> int:
        """Return the number of rules that readings are judged by."""
        return len(self._rules)

    @property
    def scoped(self) -> bool:
        """Return whether sites and tags of devices must be known."""
        return self._reach.scoped

    def plan(self, device_id: str, site_id: str | None, tags: Sequence[str]) -> Plan:
        """Return the plan of a device."""
        covering = self._reach.covering(device_id, site_id, tags)
        found = self._plans.get(covering)
        if found is None:
            if len(self._plans) >= DIFFERENT_PLANS:
                self._plans.clear()
            judged = [self._judged[number] for number in covering]
            timed = [self._rules[number].parameters.metric for number in covering if self._judged[number] is None]
            found = plan_of([planned for planned in judged if planned is not None], [m for m in timed if m is not None])
            self._plans[covering] = found
        return found

    def without(self, failed: PlannedRule) -> "TenantRules":
        """Return the same without a rule that raised: nothing is judged by it until it is changed."""
        return TenantRules([rule for rule in self._rules if rule.rule_id != failed.rule_id])


class RuleBook:
    """Knows what to judge. ``watches`` are the devices that were heard, of tenants with rules."""

    def __init__(self, load: LoadRules, capacity: int) -> None:
        self._load = load
        self._capacity = capacity
        self.watches: dict[DeviceKey, Watch] = {}
        self._tenants: dict[str, TenantRules] = {}
        self._retired: dict[DeviceKey, Watch] = {}
        self._loaded: list[tuple[Sequence[str] | None, Sequence[AlertRule]]] = []
        self._moved: list[Mapping[str, Any] | None] = []
        self._reopened: list[Key] = []
        self._wanted: set[str] | None = set()
        """Tenants whose rules must be read again; None: all."""
        self._wake = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow the changes of rules. ``started()`` is called once all of them are read."""
        self._wanted = None
        first = True
        delays = Backoff(first=0.05, maximum=5.0)
        while True:
            while self._wanted is None or self._wanted:
                tenants: list[str] | None = None if self._wanted is None else sorted(self._wanted)
                self._wanted = set()
                try:
                    rules = await self._load(tenants)
                    self._loaded.append((tenants, rules))  # to the list as it is now: a batch may have taken the last
                    delays.reset()
                except (psycopg.OperationalError, OSError) as error:
                    self._want(tenants)
                    log.warning("rules are not read yet", error=str(error).strip())
                    await trio.sleep(delays.next())
            if first:
                task_status.started()
                first = False
            activity().doing("waits for a change of a rule")
            await self._wake.wait()
            self._wake = trio.Event()

    @property
    def active(self) -> bool:
        """Return whether any tenant has a rule that readings are judged by."""
        return bool(self._tenants)

    @property
    def size(self) -> int:
        """Return the number of rules that readings are judged by."""
        return sum([tenant.size for tenant in self._tenants.values()])

    @property
    def told(self) -> bool:
        """Return whether changes wait for :meth:`apply`."""
        return bool(self._loaded or self._moved or self._reopened)

    def rules_changed(self, payload: str) -> None:
        """Take one notification of RULES_CHANNEL."""
        message = _decoded(payload)
        self._want(None if message is None else message.get("tenants"))

    def rules_missed(self) -> None:
        """Read all rules again: changes may have been missed."""
        self._want(None)

    def devices_changed(self, payload: str) -> None:
        """Take one notification of the registry."""
        self._moved.append(_decoded(payload))

    def devices_missed(self) -> None:
        """Forget all devices: changes may have been missed."""
        self._moved.append(None)

    def apply(self) -> None:
        """Make what was told since the last batch true. Not while a batch is tried."""
        loaded, self._loaded = self._loaded, []
        for tenants, rules in loaded:
            self._take_rules(tenants, rules)
        moved, self._moved = self._moved, []
        for message in moved:
            self._take_moves(message)
        reopened, self._reopened = self._reopened, []
        for tenant_id, device_id, rule_key in reopened:
            watch = self.watches.get((tenant_id, device_id))
            position = None if watch is None else watch.positions.get(rule_key)
            if position is not None and position.state.open:
                position.reopen = True

    def missing(self, keys: Iterable[DeviceKey]) -> set[DeviceKey]:
        """Return those of ``keys`` that need a watch and have none."""
        watches, tenants = self.watches, self._tenants
        return {key for key in keys if key not in watches and key[0] in tenants}

    def judged(self, keys: Iterable[DeviceKey]) -> set[DeviceKey]:
        """Return those of ``keys`` with a rule that readings move: only of these there can be a state."""
        return {key for key in keys if key in self.watches and self.watches[key].plan.by_key}

    def scoped(self, keys: Iterable[DeviceKey]) -> bool:
        """Return whether sites and tags of these devices must be known."""
        return any(self._tenants[tenant_id].scoped for tenant_id in {key[0] for key in keys})

    def retired(self, key: DeviceKey) -> Watch | None:
        """Return the watch that the device had before a change of rules, if its positions are still known."""
        return self._retired.get(key)

    def make_room(self, wanted: int, needed: Collection[DeviceKey]) -> None:
        """Let devices that nothing is under way with leave for ``wanted`` more past the bound; none of ``needed``."""
        surplus = len(self.watches) + wanted - self._capacity
        if surplus <= 0:
            return
        idle = [key for key, watch in self.watches.items() if watch.idle and key not in needed]
        for key in idle[: max(surplus, self._capacity // 10)]:
            del self.watches[key]

    def add(self, key: DeviceKey, site_id: str | None, tags: tuple[str, ...]) -> Watch:
        """Make the watch of a device."""
        watch = Watch(self._tenants[key[0]].plan(key[1], site_id, tags), site_id, tags)
        before = self._retired.pop(key, None)
        if before is not None:
            watch.values = {name: value for name, value in before.values.items() if name in watch.plan.named}
            for rule_key, planned in watch.plan.by_key.items():
                position = before.positions.get(rule_key)
                if position is not None and position.rule_version == planned.rule.version:
                    watch.positions[rule_key] = position
                if rule_key in before.filling:
                    watch.filling[rule_key] = before.filling[rule_key]
            for track in before.tracks:
                same = watch.plan.by_key.get(track.planned.key)
                if same is not None and same.rule.version == track.planned.rule.version:
                    watch.remember(same, track.memory)
            watch.settle()
        self.watches[key] = watch
        return watch

    def fail(self, failed: PlannedRule) -> None:
        """Judge nothing by a rule that raised, until it is changed. Not while a batch is tried."""
        tenant_id = failed.rule.tenant_id
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            self._tenants[tenant_id] = tenant.without(failed)
            self._retire({tenant_id})

    def open_alerts(self) -> Iterable[Key]:
        """Yield tenant, device and rule of every condition that goes on, as far as it is in memory."""
        for (tenant_id, device_id), watch in self.watches.items():
            for rule_key, position in watch.positions.items():
                if position.state.open:
                    yield tenant_id, device_id, rule_key

    def reopen(self, keys: Iterable[Key]) -> None:
        """Let the next reading that breaches open the alert anew. Told before the next batch."""
        self._reopened += keys

    def _want(self, tenants: Sequence[str] | None) -> None:
        if tenants is None:
            self._wanted = None
        elif self._wanted is not None:
            self._wanted |= set(tenants)
        self._wake.set()

    def _take_rules(self, tenants: Sequence[str] | None, rules: Sequence[AlertRule]) -> None:
        by_tenant: dict[str, list[AlertRule]] = {}
        for rule in rules:
            by_tenant.setdefault(rule.tenant_id, []).append(rule)
        changed = set(self._tenants if tenants is None else tenants)
        for tenant_id in changed:
            self._tenants.pop(tenant_id, None)
        self._retire(changed)
        for tenant_id, found in by_tenant.items():
            made = TenantRules(found)
            if made.judging:
                self._tenants[tenant_id] = made
        for key in [key for key in self._retired if key[0] not in self._tenants]:
            del self._retired[key]  # its readings go by unseen

    def _retire(self, tenants: Collection[str]) -> None:
        for key in [key for key in self.watches if key[0] in tenants]:
            watch = self.watches.pop(key)
            if watch.values or not watch.idle:
                self._retired[key] = watch

    def _take_moves(self, message: Mapping[str, Any] | None) -> None:
        if message is None or message.get("all"):
            self.watches.clear()
            self._retired.clear()
            return
        for tenant_id, device_id in message.get("devices") or ():
            self.watches.pop((tenant_id, device_id), None)
            self._retired.pop((tenant_id, device_id), None)
        tenants = set(message.get("tenants") or ())
        if tenants:
            for kept in (self.watches, self._retired):
                for key in [key for key in kept if key[0] in tenants]:
                    del kept[key]


def _decoded(payload: str) -> Mapping[str, Any] | None:
    """Return a notification, or None where everything may have changed."""
    try:
        message = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        return None
    return message if isinstance(message, dict) and not message.get("all") else None
