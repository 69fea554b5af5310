"""Judges readings by the rules of their devices. Pure: what it finds are changes, which a commit makes true."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from appliance.alerts.engine.changes import Changes, DeviceDraft, Key, Opening, Triggers
from appliance.alerts.engine.plan import Bounds, PlannedRule
from appliance.alerts.engine.watch import Position, Watch
from appliance.alerts.kinds.kind import Event, Memory, Newest, Sample
from appliance.devices.live.state import DeviceKey
from appliance.ingest.batch import Reading

Look = Callable[[str], Newest | None]


def judge(watches: Mapping[DeviceKey, Watch], readings: Iterable[Reading], changes: Changes) -> None:
    """Judge ``readings``, in order of arrival. A late one is judged by nothing; a device without rules has no watch.

    Memories take the readings at once: whatever happens then, ``changes`` are committed or given back.
    """
    drafts = changes.drafts
    for reading in readings:
        key = reading.route.key
        watch = watches.get(key)
        if watch is None or reading.late:
            continue
        plan, metrics, draft = watch.plan, reading.metrics, drafts.get(key)
        if watch.busy or (draft is not None and draft.positions) or not _dismissed(plan.bounds, metrics):
            draft = draft or _draft(changes, watch, reading)
            _judge_one(changes, draft, reading)
        if watch.tracks:
            draft = _remember(changes, watch, draft, reading)
        if plan.named and not plan.named.isdisjoint(metrics):
            _note_values(draft or _draft(changes, watch, reading), reading)


def _dismissed(bounds: Mapping[str, Bounds], metrics: Mapping[str, Any]) -> bool:
    """Return whether no rule without a memory would leave its rest. Called for each reading of a device with rules."""
    try:
        for name, value in metrics.items():
            if name in bounds:
                low, high = bounds[name]
                if not low < value < high:
                    return False
    except TypeError:
        return False  # a text: each rule says itself what it makes of it
    return True


def _remember(changes: Changes, watch: Watch, draft: DeviceDraft | None, reading: Reading) -> DeviceDraft | None:
    """Let memories take the reading, and judge by those rules that what comes of it may move. Return the draft."""
    metrics, ts, taken = reading.metrics, reading.ts, changes.taken
    for track in watch.tracks:
        value: Any = metrics.get(track.metric)
        kind = type(value)
        if kind is not float and kind is not int:
            continue
        memory = track.memory
        before = memory.state
        taken.append(memory)
        taken.append(before)
        try:
            found = memory.take(ts, value)
        except Exception as error:  # noqa: BLE001 - as in _step: the rule is marked and skipped
            changes.failed.append((track.planned, error))
            continue
        if track.low < found < track.high and (draft is None or track.planned.key not in draft.positions):
            changes.evaluations += 1
        elif memory.state is not before:  # else it is not newer than what the memory has, whoever read that
            draft = draft or _draft(changes, watch, reading)
            _step(changes, draft, track.planned, reading, _sample(draft, reading), memory)
    return draft


def _judge_one(changes: Changes, draft: DeviceDraft, reading: Reading) -> None:
    """Judge a reading by the rules without a memory that are not at rest, and by those that it may move."""
    watch, metrics = draft.watch, reading.metrics
    plan = watch.plan
    sample: Sample | None = None
    for name, value in metrics.items():
        if len(watch.tracks) < plan.memories:
            filled = {track.planned.key for track in watch.tracks}
            waiting = [planned.key for planned in plan.remembering.get(name, ()) if planned.key not in filled]
            draft.passed += [(key, reading.ts, value) for key in waiting]
        bounds = plan.bounds.get(name)
        if bounds is None:
            continue
        within = _within(bounds, value)
        if within and not (watch.moving or draft.moving):
            continue
        for planned in _under_way(draft, name) if within else _moved(draft, name, value):
            draft.moving = True
            sample = sample or _sample(draft, reading)
            _step(changes, draft, planned, reading, sample, None)


def _under_way(draft: DeviceDraft, metric: str) -> Sequence[PlannedRule]:
    """Return the rules of ``metric`` without a memory that are not at rest."""
    plan = draft.watch.plan
    keys = draft.positions.keys() | draft.watch.positions.keys()
    found = [plan.by_key[key] for key in keys if key in plan.by_key]
    return [planned for planned in found if planned.metric == metric and planned.kind.memory is None]


def _moved(draft: DeviceDraft, metric: str, value: Any) -> Sequence[PlannedRule]:
    """Return the rules of ``metric`` without a memory that are not at rest, and those that ``value`` may move."""
    drafted, kept = draft.positions, draft.watch.positions
    return [
        planned
        for planned in draft.watch.plan.rules[metric]
        if planned.key in kept or planned.key in drafted or not _within(planned.bounds, value)
    ]


def _within(bounds: Bounds, value: Any) -> bool:
    try:
        return bool(bounds[0] < value < bounds[1])
    except TypeError:
        return False


def _step(
    changes: Changes,
    draft: DeviceDraft,
    planned: PlannedRule,
    reading: Reading,
    sample: Sample,
    memory: Memory | None,
) -> None:
    """Move one rule of the device. One that raises is left as it is, and reported."""
    position = draft.positions.get(planned.key)
    if position is None:
        kept = draft.watch.positions.get(planned.key)
        position = Position(planned.rule.version) if kept is None else kept.copy()
        draft.positions[planned.key] = position
    if reading.ts <= position.judged_ts:
        return
    position.judged_ts = reading.ts
    assert planned.kind.step is not None, "a plan holds rules that readings judge"  # noqa: S101 - narrows the type
    changes.evaluations += 1
    try:
        step = planned.kind.step(planned.parameters, position.state, sample, memory)
    except Exception as error:  # noqa: BLE001 - a rule that raises costs itself: it is marked and skipped
        changes.failed.append((planned, error))
        return
    position.state = step.state
    if step.event is not Event.NOTHING:
        key = (*reading.route.key, planned.key)
        _note_event(changes, key, planned, position, step.event, reading, step.value)


def _note_event(
    changes: Changes, key: Key, planned: PlannedRule, position: Position, event: Event, reading: Reading, value: Any
) -> None:
    opening, ts = changes.opened.get(key), reading.ts
    if event is Event.CLOSED:
        if opening is None:
            changes.closed[key] = (ts, value)
        else:
            opening.ended = True
            changes.past.append((key, changes.opened.pop(key)))
    elif event is Event.OPENED or position.reopen:
        position.reopen = False
        changes.opened[key] = Opening(planned, reading.index, ts, value)
    elif opening is not None:
        opening.triggers.add(ts)
    else:
        changes.triggers.setdefault(key, Triggers()).add(ts)


def _draft(changes: Changes, watch: Watch, reading: Reading) -> DeviceDraft:
    draft = changes.drafts.get(reading.route.key)
    if draft is None:
        draft = changes.drafts[reading.route.key] = DeviceDraft(watch, reading.state)
    return draft


def _sample(draft: DeviceDraft, reading: Reading) -> Sample:
    before = _known(draft)
    metrics, ts = reading.metrics, reading.ts

    def newest(name: str) -> Newest | None:
        return Newest(metrics[name], ts) if name in metrics else before(name)

    return Sample(ts, metrics, newest, before)


def _known(draft: DeviceDraft) -> Look:
    """Return what tells the newest value of a metric as of the reading before."""
    drafted, kept = draft.values, draft.watch.values

    def known(name: str) -> Newest | None:
        return drafted.get(name) or kept.get(name)

    return known


def _note_values(draft: DeviceDraft, reading: Reading) -> None:
    for name in draft.watch.plan.named:
        if name in reading.metrics:
            draft.values[name] = Newest(reading.metrics[name], reading.ts)
