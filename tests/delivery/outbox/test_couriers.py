"""Jobs from the event of an alert to their end, over a real database and with the test's clock."""

from datetime import UTC, datetime, time
from typing import Any

import pytest
import trio

from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.dispatcher import Dispatcher
from appliance.delivery.outbox.job import JobEvent
from appliance.delivery.senders.sender import Outcome, Target, Verdict
from tests.support import soak
from tests.support.alerts import add_alert, add_alerts
from tests.support.couriers import (
    BROKEN,
    DELIVERED,
    GONE,
    NOON,
    REFUSED,
    TIMED_OUT,
    UNREACHED,
    PlayedSender,
    PlayedWindows,
    SetClock,
    acknowledge,
    answering,
    close,
    open_couriers,
    rows,
    states,
)
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

ALERTS = soak.times(60)
"""In a time without a way out."""
ALL = ["OPEN", "ACKNOWLEDGED", "CLOSED"]


def at(seconds: float = 0.0) -> datetime:
    return datetime.fromtimestamp(NOON + seconds, UTC)


def receive(database: Database, **route: Any) -> None:
    """Write an integration, and a route to it that takes every step."""
    integration_id = add_integration(database)
    add_route(database, integration_id, **({"deliver_on": ALL} | route))


def alert(database: Database, seconds: float = 0.0, **columns: Any) -> int:
    return add_alert(database, created_at=at(seconds), **columns)


async def test_every_step_of_an_alert_is_told_in_order_with_what_is_known_of_it(database: Database) -> None:
    receive(database)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        acknowledge(database, one, NOON)
        await couriers.rest()
        close(database, one, NOON)
        await couriers.rest()
    assert sender.told() == [("OPEN", one), ("ACKNOWLEDGED", one), ("CLOSED", one)]
    notice = sender.sent[0]
    assert (notice.alert.summary, notice.alert.device_id) == ("temperature above 8", "d1")
    assert (notice.url, notice.appliance) == (f"https://edge.example/alerts/{one}", "one")
    assert [told.opening_id for told in sender.sent] == [None, notice.message_id, notice.message_id]
    assert [row[2] for row in states(database)] == ["COMPLETED"] * 3
    assert rows(database, "SELECT outcome, http_status FROM delivery_attempts") == [("delivered", 200)] * 3
    [(failures, failed)] = rows(database, "SELECT failures, last_failure_at FROM integration_health")
    assert (failures, failed) == (0, None)


async def test_an_answer_that_may_change_is_asked_for_again_by_the_table_and_then_dead(database: Database) -> None:
    receive(database)
    sender = PlayedSender(answering(BROKEN))
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        for step in (5, 30, 120, 600, 1800, 7200, 21_600, 43_200):
            before = len(sender.sent)
            await couriers.pass_time(step - 1)
            assert len(sender.sent) == before, f"earlier than {step} s"
            await couriers.pass_time(60.0)  # the breaker probes each minute
            assert len(sender.sent) == before + 1
    assert states(database) == [(one, "OPEN", "DEAD", "exhausted")]
    assert len({notice.message_id for notice in sender.sent}) == 1
    assert rows(database, "SELECT tries, attempts, receipt FROM delivery_jobs") == [(9, 9, "refused")]


async def test_a_refused_open_is_dead_at_once_and_its_end_is_not_told(database: Database) -> None:
    receive(database)
    sender = PlayedSender(answering(REFUSED))
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        close(database, one, NOON)
        await couriers.rest()
    assert states(database) == [(one, "OPEN", "DEAD", "refused"), (one, "CLOSED", "SKIPPED", "not_told")]
    assert sender.told() == [("OPEN", one)]


async def test_what_may_have_arrived_goes_on_and_gets_its_end(database: Database) -> None:
    receive(database)
    sender = PlayedSender(answering(TIMED_OUT, REFUSED, DELIVERED))
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        close(database, one, NOON)
        await couriers.rest()
        assert [row[1:] for row in states(database)] == [
            ("OPEN", "PENDING", "retrying"),
            ("CLOSED", "PENDING", "waiting"),
        ]
        await couriers.pass_time(6.0)
    assert sender.told() == [("OPEN", one), ("OPEN", one), ("CLOSED", one)]
    assert [row[2] for row in states(database)] == ["DEAD", "COMPLETED"]


async def test_an_integration_that_is_gone_is_disabled_and_what_waits_is_skipped(database: Database) -> None:
    receive(database)
    async with open_couriers(database, PlayedSender(answering(GONE))) as couriers:
        one = alert(database)
        await couriers.rest()
        close(database, one, NOON)
        await couriers.rest()
    assert rows(database, "SELECT enabled, disabled_reason FROM integrations") == [(False, "gone")]
    assert states(database) == [(one, "OPEN", "DEAD", "gone"), (one, "CLOSED", "SKIPPED", "integration_off")]
    assert rows(database, "SELECT action, actor_kind FROM audit_log") == [("integration.disable", "appliance")]


async def test_a_disabled_integration_skips_what_waits_although_its_breaker_is_open(database: Database) -> None:
    receive(database)
    sender = PlayedSender(answering(UNREACHED))
    async with open_couriers(database, sender) as couriers:
        alerts = [alert(database) for _ in range(8)]
        await couriers.rest()
        assert rows(database, "SELECT breaker_opened_at IS NOT NULL FROM integration_health") == [(True,)]
        rows(database, "UPDATE integrations SET enabled = false")
        couriers.clock.at += 59.0  # type: ignore[attr-defined]
        couriers.dispatcher.wake()
        with trio.fail_after(30):
            while {row[2:] for row in states(database, alerts)} != {("SKIPPED", "integration_off")}:
                await trio.sleep(0.01)


async def test_an_open_that_was_never_tried_is_skipped_with_its_end(database: Database) -> None:
    receive(database, delay_seconds=60)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        close(database, one, NOON)
        await couriers.rest()
    assert states(database) == [
        (one, "OPEN", "SKIPPED", "overtaken"),
        (one, "CLOSED", "SKIPPED", "not_told"),
    ] or states(database) == [(one, "OPEN", "SKIPPED", "delayed"), (one, "CLOSED", "SKIPPED", "not_told")]
    assert sender.sent == []


async def test_an_acknowledgement_ends_a_delay_at_once(database: Database) -> None:
    receive(database, delay_seconds=900)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await couriers.rest()
        acknowledge(database, one, NOON)
        await couriers.rest()
        assert states(database) == [(one, "OPEN", "SKIPPED", "overtaken"), (one, "ACKNOWLEDGED", "SKIPPED", "not_told")]
        two = alert(database)
        await couriers.pass_time(900.0)
    assert sender.told() == [("OPEN", two)]


async def test_a_silence_holds_until_it_ends_and_does_not_tell_again_what_was_told(database: Database) -> None:
    receive(database)
    sender = PlayedSender()
    silence = "UPDATE fleet_alert SET silenced_until = %s WHERE id = %s"
    async with open_couriers(database, sender) as couriers:
        told = alert(database)
        await couriers.rest()
        rows(database, silence, at(3600), told)
        held, closed = (alert(database, silenced_until=at(3600)) for _ in range(2))
        await couriers.rest()
        assert states(database, [held]) == [(held, "OPEN", "PENDING", "silenced")]
        close(database, closed, NOON)
        await couriers.rest()
        await couriers.pass_time(3600.0)
        close(database, told, NOON)
        await couriers.rest()
    assert states(database, [closed]) == [
        (closed, "OPEN", "SKIPPED", "silenced"),
        (closed, "CLOSED", "SKIPPED", "not_told"),
    ]
    assert sender.told() == [("OPEN", told), ("OPEN", held), ("CLOSED", told)]


async def test_a_silence_that_is_taken_back_lets_go_at_once(database: Database) -> None:
    receive(database)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one = alert(database, silenced_until=at(3600))
        await couriers.rest()
        assert sender.sent == []
        rows(database, "UPDATE fleet_alert SET silenced_until = NULL")
        with trio.fail_after(30):
            while not sender.sent:
                await trio.sleep(0.01)
    assert sender.told() == [("OPEN", one)]


async def test_held_jobs_are_looked_for_only_while_a_job_waits(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    woken, wake = list[str](), Dispatcher._wake

    async def noted(self: Dispatcher, connection: Any, statement: str, *moved: Any) -> None:
        woken.append(statement)
        await wake(self, connection, statement, *moved)

    monkeypatch.setattr(Dispatcher, "_wake", noted)
    async with open_couriers(database, PlayedSender()) as couriers:
        close(database, alert(database), NOON)
        await couriers.rest()
        assert woken == [], "no route leads anywhere"
        receive(database, delay_seconds=900)
        acknowledge(database, alert(database), NOON)
        await couriers.rest()
        assert "wake_held" in woken


async def test_a_window_holds_and_its_change_lets_go(database: Database) -> None:
    receive(database)
    sender, windows = PlayedSender(), PlayedWindows(NOON + 3600)
    async with open_couriers(database, sender, windows=windows) as couriers:
        one = alert(database)
        await couriers.rest()
        assert states(database) == [(one, "OPEN", "PENDING", "maintenance")]
        windows.ends = None
        couriers.dispatcher.routes_changed('{"tenants": ["acme"]}')
        with trio.fail_after(30):
            while not sender.sent:
                await trio.sleep(0.01)


async def test_an_inhibited_alert_is_told_when_its_cause_ends_first(database: Database) -> None:
    receive(database)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        cause = alert(database, alert_type="SITE_SILENT", device_id=None, site_id="s1")
        one, two = (alert(database, inhibited_by=cause) for _ in range(2))
        await couriers.rest()
        assert states(database, [one]) == [(one, "OPEN", "PENDING", "inhibited")]
        close(database, one, NOON)
        await couriers.rest()
        close(database, cause, NOON)
        rows(database, "UPDATE fleet_alert SET inhibited_by = NULL WHERE id = %s", two)
        await couriers.rest()
    assert states(database, [one]) == [(one, "OPEN", "SKIPPED", "inhibited"), (one, "CLOSED", "SKIPPED", "not_told")]
    assert sender.told()[0] == ("OPEN", cause)
    assert sorted(sender.told()[1:]) == [("CLOSED", cause), ("OPEN", two)]


async def test_quiet_hours_hold_until_their_end_in_the_zone_of_the_route(database: Database) -> None:
    receive(database, quiet_from=time(12, 30), quiet_until=time(14), quiet_zone="Europe/Berlin")
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one, worst = alert(database), alert(database, severity="critical")
        await couriers.rest()
        assert sender.told() == [("OPEN", worst)]
        await couriers.pass_time(3599.0)
        assert len(sender.sent) == 1
        await couriers.pass_time(1.0)
    assert sender.told()[1:] == [("OPEN", one)]


async def test_a_route_that_changed_lets_go_and_one_that_takes_it_no_more_skips(database: Database) -> None:
    receive(database, delay_seconds=900)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        one, other = alert(database), alert(database, severity="low")
        await couriers.rest()
        rows(
            database,
            "UPDATE integration_routes SET delay_seconds = 0, severities = '{high}', version = version + 1",
        )
        with trio.fail_after(30):
            while any(row[2] == "PENDING" for row in states(database)):
                await trio.sleep(0.01)
    assert states(database, [other]) == [(other, "OPEN", "SKIPPED", "no_match")]
    assert sender.told() == [("OPEN", one)]


async def test_beyond_the_burst_alerts_are_gathered_and_so_are_their_ends(database: Database) -> None:
    receive(database, burst=2)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        alerts = [alert(database) for _ in range(6)]
        await couriers.rest()
        assert sender.told() == [("OPEN", alerts[0]), ("OPEN", alerts[1])]
        await couriers.pass_time(60.0)
        assert sender.told()[2:] == [("OPEN", alerts[5])]
        assert [told.alert_id for told in sender.sent[2].merged] == alerts[4:1:-1]
        assert sender.sent[2].merged_count == 3
        for one in alerts[2:]:
            close(database, one, NOON)
        await couriers.rest()
        assert len(sender.sent) == 3
        await couriers.pass_time(60.0)
    assert sender.told()[3:] == [("CLOSED", alerts[5])]
    assert (sender.sent[3].merged_count, len(sender.sent)) == (3, 4)
    assert rows(database, "SELECT count(*) FROM delivery_jobs WHERE reason = 'merged' AND receipt = 'confirmed'") == [
        (6,)
    ]


async def test_a_type_that_cannot_merge_tells_each(database: Database) -> None:
    receive(database, burst=2)
    sender = PlayedSender(may_merge=False)
    async with open_couriers(database, sender) as couriers:
        alerts = [alert(database) for _ in range(6)]
        await couriers.rest()
    assert sorted(sender.told()) == [("OPEN", one) for one in alerts]


async def test_what_the_next_warning_took_the_place_of_is_told_no_more_but_its_incident_ends(
    database: Database,
) -> None:
    receive(database)
    for may_merge, told in ((True, ["OPEN"]), (False, ["OPEN", "CLOSED"])):
        sender = PlayedSender(may_merge=may_merge)
        async with open_couriers(database, sender) as couriers:
            one = alert(database, fingerprint=f"subscription:{may_merge}")
            await couriers.rest()
            close(database, one, NOON, "superseded")
            await couriers.rest()
        assert sender.told() == [(event, one) for event in told]
        expected = ("COMPLETED", None) if len(told) == 2 else ("SKIPPED", "superseded")
        assert states(database, [one])[1] == (one, "CLOSED", *expected)


async def test_past_alerts_come_as_one_summary(database: Database) -> None:
    receive(database)
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        alerts = [alert(database, due_at=at(60)) for _ in range(5)]
        still_open = alert(database, due_at=at(60))
        for one in alerts:
            close(database, one, NOON + 1)
        await couriers.rest()
        await couriers.pass_time(60.0)
    assert sorted(sender.told()) == [("CLOSED", alerts[4]), ("OPEN", still_open)]
    [summary] = [notice for notice in sender.sent if notice.event is JobEvent.CLOSED]
    assert [told.alert_id for told in summary.merged] == alerts[3::-1]
    assert {row[2:] for row in states(database, alerts)} == {("SKIPPED", "merged"), ("COMPLETED", None)}


async def test_three_days_without_a_way_out(database: Database) -> None:
    receive(database)
    way_out = False

    async def answer(_target: Target, _notice: Notice) -> Outcome:
        return DELIVERED if way_out else UNREACHED

    sender, clock, severities = PlayedSender(answer), SetClock(), ("info", "high", "critical", "low", "medium")
    async with open_couriers(database, sender, clock=clock) as couriers:
        told = alert(database, severity="low")
        way_out = True
        await couriers.rest()
        way_out = False
        alerts: dict[int, bool] = {}
        for day in range(3):
            for severity in severities:
                made = add_alerts(database, ALERTS // 15, created_at=at(day * 86_400), severity=severity)
                alerts |= {one: index % 4 == 0 for index, one in enumerate(made)}
            await couriers.rest()
            for one in made[::4]:
                close(database, one, clock.at)
            await couriers.pass_time(86_400.0)
        for one, closes in alerts.items():
            if closes:
                close(database, one, clock.at)
        close(database, told, clock.at)
        assert (
            rows(database, "SELECT DISTINCT status FROM delivery_jobs WHERE status NOT IN ('PENDING', 'COMPLETED')")
            == []
        )
        before = len(sender.sent)
        assert before < 20, "probes, not a storm"
        way_out = True
        await couriers.pass_time(60.0)
    returned = sender.sent[before:]
    opens = [notice for notice in returned if notice.event is JobEvent.OPEN]
    still_open = [one for one, closes in alerts.items() if not closes]
    assert sorted(notice.alert.alert_id for notice in opens) == sorted(still_open), "each open one once"
    order = ["critical", "high", "medium", "low", "info"]
    ranks = [(order.index(notice.alert.severity.value), -notice.alert.alert_id) for notice in opens]
    assert ranks == sorted(ranks), "most severe and newest first"
    [summary] = [notice for notice in returned if notice.event is JobEvent.CLOSED]
    assert summary.merged_count == sum(alerts.values()), "the closed ones in one summary, with the one told before"
    assert rows(database, "SELECT count(*) FROM delivery_jobs WHERE status NOT IN ('COMPLETED', 'SKIPPED')") == [(0,)]
    assert rows(database, "SELECT DISTINCT reason FROM delivery_jobs WHERE status = 'SKIPPED'") == [("merged",)]


async def test_a_broken_sender_costs_its_own_notice(database: Database) -> None:
    receive(database)
    other = add_integration(database, type="other")
    add_route(database, other)

    async def fail(_target: Target, _notice: Notice) -> Outcome:
        raise RuntimeError("a bug")

    sender, good = PlayedSender(fail), PlayedSender(type="other")
    async with open_couriers(database, sender, good) as couriers:
        one = alert(database)
        await couriers.rest()
    assert good.told() == [("OPEN", one)]
    [(outcome, error)] = rows(database, "SELECT outcome, error FROM delivery_attempts WHERE outcome <> 'delivered'")
    assert (outcome, error) == (Verdict.RETRY.value, "Unexpected RuntimeError while sending.")


async def test_that_an_integration_fails_is_not_told_through_it_although_a_route_leads_there_by_now(
    database: Database,
) -> None:
    receive(database, delay_seconds=60)
    sender = PlayedSender()
    failing = add_integration(database)
    async with open_couriers(database, sender) as couriers:
        alert(database, alert_type="INTEGRATION_FAILING", details={"integration_id": str(failing)})
        await couriers.rest()
        rows(database, "UPDATE integration_routes SET integration_id = %s", failing)
        rows(database, "UPDATE delivery_jobs SET integration_id = %s", failing)
        await couriers.pass_time(60)
    assert [row[2:] for row in states(database)] == [("SKIPPED", "no_match")]
    assert sender.sent == []
