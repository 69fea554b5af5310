"""What people do with alerts: acknowledge, undo that, close, silence, write notes, delete; one alert or many.

Enters: a connection in a transaction, ids of alerts, what is asked for, and by whom. Leaves: changed rows of
``fleet_alert``, an entry of the timeline for each step, one row of the audit for each action. Never: a change of the
state of a rule. A rule whose alert a person closes opens a new one only after its condition has cleared, or after
``alerts.reopen_after``.

Storing readings touches the same rows, and waits little. So one action, however many alerts it is about, is a few
statements: the rows are locked in the order of their ids, the table of :mod:`appliance.alerts.lifecycle` decides, and
one UPDATE writes all of them. None waits longer than ``LOCK_TIMEOUT_MS`` for somebody else or runs longer than
``STATEMENT_TIMEOUT_MS``.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec
import psycopg

from appliance.alerts import lifecycle
from appliance.alerts.alert import Status
from appliance.alerts.lifecycle import TRANSITIONS, AlertStep
from appliance.db import statements
from appliance.db.audit import Actor, Entry, record
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import Busy, Conflict, Invalid
from appliance.plain_text import is_plain

STATEMENTS = statements.load("alerts")

STATEMENT_TIMEOUT_MS = 2000
"""For each statement of an action."""
LOCK_TIMEOUT_MS = 1500
"""For a row that somebody else is changing: shorter, so that the answer says that it was the lock."""
MAX_ALERTS = 1000
"""Alerts of one action."""
MAX_NOTE = 2000
"""Characters of a note, as the database has it."""
MAX_SILENCE = timedelta(days=366)
"""Longer than this it is a rule that nobody wants."""
MAX_ID = 2**63 - 1

HELD = "Someone else is changing this at the moment. Nothing was changed; try again in a few seconds."

UPDATES: Mapping[AlertStep, str] = {
    AlertStep.ACKNOWLEDGE: "acknowledge_alerts",
    AlertStep.UNACKNOWLEDGE: "unacknowledge_alerts",
    AlertStep.CLOSE: "close_alerts",
    AlertStep.SILENCE: "silence_alerts",
    AlertStep.UNSILENCE: "unsilence_alerts",
    AlertStep.DELETE: "delete_alerts",
}
"""The statement of each step; each writes the timeline, too."""

BULK_STEPS = frozenset(AlertStep) - {AlertStep.DELETE}
"""Steps that many alerts take at once."""


class AlertOutcome(StrEnum):
    """What came of a step for one of many alerts."""

    DONE = "done"
    UNCHANGED = "unchanged"
    """The alert was there already."""
    CONFLICT = "conflict"
    """Its status does not allow the step, or another alert stands for it."""
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True)
class AskedStep:
    """A step that a person asks for, and what goes with it."""

    step: AlertStep
    note: str = ""
    """For the timeline; the reason of a silence, which is required."""
    until: datetime | None = None
    """The end of a silence."""

    def checked(self, now: datetime) -> "AskedStep":
        """Return it with a tidy note. Raises Invalid with the field: ``note``, ``reason`` or ``until``."""
        if self.step is not AlertStep.SILENCE:
            return AskedStep(self.step, tidy_note(self.note, "note"))
        reason = tidy_note(self.note, "reason")
        if not reason:
            raise Invalid("Give the reason of the silence.", "reason")
        return AskedStep(self.step, reason, _end_of_silence(self.until, now))


@dataclass(frozen=True, slots=True)
class AlertAnswer:
    """What came of a step for one alert."""

    alert_id: int
    outcome: AlertOutcome
    status: Status | None
    """The status now; None where there is no such alert, or no more."""
    inhibited_by: int | None = None
    """The alert that stands for it, where that is why it was not done."""


@dataclass(frozen=True, slots=True)
class _LockedAlert:
    """What a decision needs to know of an alert; it is locked until the transaction ends."""

    alert_id: int
    status: Status
    silenced: bool
    inhibited_by: int | None
    """The alert that stands for it and is not closed."""


async def take(
    connection: Connection[Any], tenant_id: str, alert_id: int, asked: AskedStep, context: ChangeContext
) -> None:
    """Take a step with one alert.

    Raises NotFound; Conflict, which carries the present status, when the step is not possible; Invalid with the field;
    Busy when somebody else holds the alert.
    """
    async with bounded(connection, STATEMENT_TIMEOUT_MS):
        rows = await _lock(connection, tenant_id, [alert_id], context)
        alert = require(rows.get(alert_id), f"alert {alert_id}")
        _check(asked.step, alert)
        await _carry_out(connection, tenant_id, [alert], asked.checked(context.now), context)


async def take_many(
    connection: Connection[Any], tenant_id: str, alert_ids: Sequence[int], asked: AskedStep, context: ChangeContext
) -> list[AlertAnswer]:
    """Take a step with up to MAX_ALERTS alerts; return an answer for each distinct id, in the order given.

    Raises Invalid with the field; Busy when somebody else holds one of the alerts: then none was changed.
    """
    if asked.step not in BULK_STEPS:
        raise Invalid(f"Many alerts at once: one of {', '.join(sorted(BULK_STEPS))}.", "action")
    if not 1 <= len(alert_ids) <= MAX_ALERTS:
        raise Invalid(f"Give 1 to {MAX_ALERTS} alerts.", "alert_ids")
    asked = asked.checked(context.now)
    async with bounded(connection, STATEMENT_TIMEOUT_MS):
        present = [alert_id for alert_id in alert_ids if 0 < alert_id <= MAX_ID]
        rows = await _lock(connection, tenant_id, present, context)
        answers = [_answer(asked.step, alert_id, rows.get(alert_id)) for alert_id in dict.fromkeys(alert_ids)]
        done = [rows[answer.alert_id] for answer in answers if answer.outcome is AlertOutcome.DONE]
        if done:
            await _carry_out(connection, tenant_id, done, asked, context)
    return answers


async def add_note(
    connection: Connection[Any], tenant_id: str, alert_id: int, note: str, context: ChangeContext
) -> None:
    """Write a note into the timeline of an alert of any status.

    Raises NotFound; Invalid for a note that is empty or too long; Busy when somebody else holds the alert.
    """
    async with bounded(connection, STATEMENT_TIMEOUT_MS):
        rows = await _lock(connection, tenant_id, [alert_id], context)
        require(rows.get(alert_id), f"alert {alert_id}")
        text = tidy_note(note, "note")
        if not text:
            raise Invalid("Write something.", "note")
        await connection.execute(STATEMENTS["add_note"], _parameters(tenant_id, [alert_id], context) | {"note": text})
        entry = Entry(context.actor, "alert.note", "alert", str(alert_id), tenant_id, after={"note": text})
        await record(connection, entry, now=context.now)


def tidy_note(text: str, field: str) -> str:
    """Return a note without blanks at its ends; it may have several lines. Raises Invalid, naming ``field``."""
    note = text.replace("\r\n", "\n").strip()
    if len(note) > MAX_NOTE:
        raise Invalid(f"This has at most {MAX_NOTE} characters.", field)
    if not is_plain(note, lines=True):
        raise Invalid("This contains characters that cannot be seen; type it again.", field)
    return note


def _end_of_silence(until: datetime | None, now: datetime) -> datetime:
    if until is None:
        raise Invalid("Give the end of the silence, such as 2026-01-31T12:00:00Z.", "until")
    if until.tzinfo is None:
        raise Invalid("Give the end with its offset, such as 2026-01-31T12:00:00Z.", "until")
    try:
        ahead = until - now
    except OverflowError:  # at the ends of the calendar
        ahead = MAX_SILENCE * 2
    if ahead <= timedelta(0):
        raise Invalid("The end of the silence must be in the future.", "until")
    if ahead > MAX_SILENCE:
        raise Invalid(f"A silence lasts {MAX_SILENCE.days} days at most; change the rule instead.", "until")
    return until


@asynccontextmanager
async def bounded(connection: Connection[Any], statement_timeout: int) -> AsyncIterator[None]:
    """Bound every statement of the transaction, in milliseconds.

    Raises Busy when somebody else holds what is to be changed.
    """
    bounds = {"statement": f"{statement_timeout}ms", "lock": f"{LOCK_TIMEOUT_MS}ms"}
    await connection.execute(STATEMENTS["set_timeouts"], bounds)
    try:
        yield
    except (psycopg.errors.LockNotAvailable, psycopg.errors.QueryCanceled, psycopg.errors.DeadlockDetected) as error:
        raise Busy(HELD) from error


async def _lock(
    connection: Connection[Any], tenant_id: str, alert_ids: Sequence[int], context: ChangeContext
) -> dict[int, _LockedAlert]:
    """Lock the alerts that are there, in the order of their ids; return them by id."""
    parameters = {"tenant": tenant_id, "ids": list(alert_ids), "settled": context.settled}
    cursor = await connection.execute(STATEMENTS["lock_alerts"], parameters)
    return {row[0]: _LockedAlert(row[0], Status(row[1]), *row[2:]) for row in await cursor.fetchall()}


def _check(step: AlertStep, alert: _LockedAlert) -> None:
    """Raise Conflict, with the present status, if the alert cannot take the step."""
    if alert.inhibited_by is not None:
        raise Conflict(f"Alert {alert.inhibited_by} stands for this one: act on that one instead.", alert.status.value)
    lifecycle.check(step, alert.status)
    if step is AlertStep.UNSILENCE and not alert.silenced:
        raise Conflict(f"This alert is {alert.status.value} and not silenced.", alert.status.value)


def _answer(step: AlertStep, alert_id: int, alert: _LockedAlert | None) -> AlertAnswer:
    """Return what comes of the step for one of many alerts."""
    if alert is None:
        return AlertAnswer(alert_id, AlertOutcome.NOT_FOUND, None)
    if alert.inhibited_by is not None:
        return AlertAnswer(alert_id, AlertOutcome.CONFLICT, alert.status, alert.inhibited_by)
    if lifecycle.reached(step, alert.status):
        return AlertAnswer(alert_id, AlertOutcome.UNCHANGED, alert.status)
    if not lifecycle.possible(step, alert.status):
        return AlertAnswer(alert_id, AlertOutcome.CONFLICT, alert.status)
    if step is AlertStep.UNSILENCE and not alert.silenced:
        return AlertAnswer(alert_id, AlertOutcome.UNCHANGED, alert.status)
    return AlertAnswer(alert_id, AlertOutcome.DONE, TRANSITIONS[step][alert.status])


async def _carry_out(
    connection: Connection[Any],
    tenant_id: str,
    alerts: Sequence[_LockedAlert],
    asked: AskedStep,
    context: ChangeContext,
) -> None:
    """Write the step, checked before, of alerts that are locked and can take it; with timeline and audit."""
    parameters = _parameters(tenant_id, [alert.alert_id for alert in alerts], context)
    parameters |= {"note": asked.note or None, "until": asked.until}
    await connection.execute(STATEMENTS[UPDATES[asked.step]], parameters)
    entry = _audit_entry(tenant_id, asked.step, alerts, asked, context.actor)
    await record(connection, entry, now=context.now)


def _parameters(tenant_id: str, alert_ids: Sequence[int], context: ChangeContext) -> dict[str, Any]:
    return {
        "tenant": tenant_id,
        "ids": list(alert_ids),
        "now": context.now,
        "actor": context.actor.name,
        "actor_kind": context.actor.kind.value,
    }


def _audit_entry(
    tenant_id: str, step: AlertStep, alerts: Sequence[_LockedAlert], asked: AskedStep, actor: Actor
) -> Entry:
    """Return the one audit row of a step: of one alert with its statuses, of many with their ids."""
    said: dict[str, Any] = {}
    if asked.until is not None:
        said["until"] = msgspec.to_builtins(asked.until)
    if asked.note:
        said["reason" if step is AlertStep.SILENCE else "note"] = asked.note
    if len(alerts) > 1:
        said["alert_ids"] = [alert.alert_id for alert in alerts]
        return Entry(actor, f"alert.{step}", "alert", f"{len(alerts)} alerts", tenant_id, after=said)
    (alert,) = alerts
    after = TRANSITIONS[step][alert.status]
    if after is not None:
        said = {"status": after.value, **said}
    before = {"status": alert.status.value}
    return Entry(actor, f"alert.{step}", "alert", str(alert.alert_id), tenant_id, before, said or None)
