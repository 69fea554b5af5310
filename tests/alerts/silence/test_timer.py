"""Alerts of silent devices: when they open, when they close, and what opens none."""

from datetime import timedelta

import psycopg
import pytest
import trio

from appliance.alerts.silence.store import SLICE_DEVICES
from appliance.db.locks import lock_key
from tests.alerts.silence.fleet import DAY, names, open_fleet
from tests.support.postgres_server import Database
from tests.support.tenants import NOW, TENANT, rows

NO_HEARTBEAT = "NO_HEARTBEAT"


async def test_a_device_that_turns_offline_opens_one_alert_that_ends_when_it_is_back(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b")
        await fleet.hear("a", "b", at=0)
        await fleet.round(299)
        assert await fleet.alerts() == []
        await fleet.hear("b", at=299)
        for moment in (300, 305, 720):
            await fleet.hear("b", at=moment)
            await fleet.round(moment)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)]
        assert await fleet.column("summary") == ["No message for 5 min"]
        assert await fleet.column("details") == [{"value": 300, "threshold": 300}]
        assert await fleet.column("severity") == ["high"]
        assert await fleet.column("started_at") == [NOW]
        assert await fleet.column("created_at") == [NOW + timedelta(seconds=300)]
        assert await fleet.column("due_at") == [NOW + timedelta(seconds=300)]
        await fleet.hear("a", "b", at=800)
        await fleet.round(801)
        assert await fleet.alerts() == []
        assert await fleet.column("close_reason") == ["cleared"]
        assert await fleet.column("past") == [False]
        assert await fleet.events() == [("opened", NO_HEARTBEAT, "a"), ("closed", NO_HEARTBEAT, "a")]
        await fleet.hear("b", at=1100)
        await fleet.round(1100)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)], "another silence is another alert"


async def test_an_interval_counts_as_in_presence(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("hourly", interval=3600)
        await fleet.hear("hourly", at=0)
        await fleet.round(35_999)
        assert await fleet.alerts() == []
        await fleet.round(36_000)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "hourly", False)]
        assert await fleet.column("summary") == ["No message for 10 h"]
        await fleet.connection.execute("UPDATE device_registry SET interval_seconds = 7200")
        await fleet.round(36_005)
        assert await fleet.alerts() == [], "who is given more time is silent no more"


async def test_a_device_that_said_offline_opens_at_once(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "never")
        await fleet.hear("a", at=0)
        await fleet.connection.execute("UPDATE device_state SET offline_at = %s", [NOW + timedelta(seconds=5)])
        await fleet.round(6)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)], "nothing was ever heard of the other one"
        assert await fleet.column("summary") == ["Went offline"]


async def test_a_device_that_was_never_heard_opens_nothing(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(10))
        await fleet.add_rule('{"seconds": 60}')
        await fleet.add_rule('{"seconds": 60, "metric": "t"}', name="metric")
        await fleet.round(5 * DAY)
        assert await fleet.alerts("true") == []


async def test_a_device_that_talks_but_is_refused_is_not_silent(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b")
        await fleet.add_rule('{"seconds": 120}')
        await fleet.hear("a", "b", at=0)
        await fleet.refuse("a", at=290)
        await fleet.round(301)
        assert {device for _, device, _ in await fleet.alerts()} == {"b"}
        await fleet.refuse("b", at=302)
        await fleet.round(303)
        assert await fleet.alerts() == [], "b talks"
        await fleet.round(602)
        found = sorted(await fleet.told())
        assert found == [("NO_DATA", "a"), ("NO_DATA", "b"), (NO_HEARTBEAT, "a"), (NO_HEARTBEAT, "b")], (
            "until they stop"
        )


async def test_only_active_devices_are_judged_and_their_alerts_end_with_them(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b")
        await fleet.hear("a", "b", at=0)
        await fleet.connection.execute(
            "UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL WHERE device_id = 'b'"
        )
        await fleet.round(300)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)]
        await fleet.connection.execute("UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL")
        assert await fleet.column("close_reason") == ["device_deactivated"]
        await fleet.round(305)
        assert await fleet.alerts() == []


async def test_a_lapsed_subscription_is_no_alert_for_each_device(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(5), site="barn")
        await fleet.hear(*names(5), at=0)
        await fleet.connection.execute("UPDATE subscriptions SET hold_reason = 'unpaid'")
        await fleet.round(400)
        assert await fleet.alerts("true") == []
        await fleet.connection.execute("UPDATE subscriptions SET hold_reason = NULL")
        await fleet.round(405)
        assert await fleet.told() == [("SITE_SILENT", None)]


async def test_an_alert_that_is_open_outlasts_a_lapse(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a")
        await fleet.hear("a", at=0)
        await fleet.round(300)
        await fleet.connection.execute("UPDATE subscriptions SET hold_reason = 'unpaid'")
        await fleet.round(305)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)], "it is as dead as before"


async def test_a_suspended_tenant_gets_no_alerts(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a")
        await fleet.hear("a", at=0)
        await fleet.connection.execute("UPDATE tenants SET status = 'SUSPENDED' WHERE tenant_id = %s", [TENANT])
        await fleet.round(400)
        assert await fleet.alerts() == []


async def test_the_built_in_rule_is_tuned_and_switched_off(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b")
        await fleet.hear("a", "b", at=0)
        await fleet.change_rule("parameters = '{\"seconds\": 900}', severity = 'low', device_prefixes = '{a}'")
        await fleet.round(899)
        assert await fleet.alerts() == []
        await fleet.round(900)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)]
        assert await fleet.column("severity") == ["low"]
        await fleet.change_rule("enabled = false", at=901)
        assert await fleet.column("close_reason") == ["rule_disabled"]
        await fleet.round(905)
        assert await fleet.alerts() == []
        await fleet.change_rule("enabled = true, device_prefixes = '{}'", at=906)
        await fleet.round(910)
        assert {device for _, device, _ in await fleet.alerts()} == {"a", "b"}
        await fleet.change_rule("parameters = '{\"seconds\": 950}'", at=911)
        await fleet.round(915)
        assert await fleet.alerts() == []


async def test_the_rule_of_a_person_opens_no_data_and_ends_with_the_rule(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b")
        await fleet.add_rule('{"seconds": 60}', devices=["b"])
        await fleet.hear("a", "b", at=0)
        await fleet.round(60)
        assert await fleet.alerts() == [("NO_DATA", "b", False)]
        await fleet.change_rule("deleted_at = updated_at", at=61, which="built_in IS NULL")
        assert await fleet.column("close_reason") == ["rule_deleted"]
        await fleet.round(65)
        assert await fleet.alerts() == []


async def test_a_rule_that_changed_between_judgement_and_alert_opens_nothing(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a")
        await fleet.hear("a", at=0)
        with psycopg.connect(database.conninfo()) as person:
            person.execute("UPDATE alert_rules SET enabled = false")
            await fleet.round(300)
            assert await fleet.alerts() == [], "the slice is put off while a person changes the rule"
        await fleet.round(305)
        assert await fleet.alerts() == []


async def test_a_metric_may_be_missing_while_its_device_talks(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b", "c")
        await fleet.add_rule('{"seconds": 600, "metric": "temp"}')
        for device in ("a", "b"):
            await fleet.measure(device, "temp", at=0)
        await fleet.hear("a", "b", "c", at=595)
        await fleet.measure("b", "temp", at=595)
        await fleet.round(596)
        assert await fleet.alerts() == []
        await fleet.round(600)
        assert await fleet.alerts() == [("NO_DATA", "a", False)], "c was never seen with it"
        assert await fleet.column("summary") == ["No reading of temp for 10 min"]
        assert await fleet.column("details") == [{"metric": "temp", "value": 600, "threshold": 600}]
        await fleet.hear("a", "b", "c", at=650)
        await fleet.round(651)
        assert await fleet.alerts() == [("NO_DATA", "a", False)], "still without the metric"
        await fleet.measure("a", "temp", at=660)
        await fleet.hear("a", "b", "c", at=660)
        await fleet.round(661)
        assert await fleet.alerts() == []


async def test_a_rule_that_is_made_or_enabled_gives_each_metric_its_full_time(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b")
        for device in ("a", "b"):
            await fleet.measure(device, "temp", at=-5 * DAY)  # kept while another rule named it
        await fleet.hear("a", "b", at=0)
        await fleet.add_rule('{"seconds": 60, "metric": "temp"}', at=0)
        await fleet.round(1)
        await fleet.measure("b", "temp", at=50)
        await fleet.hear("a", "b", at=50)
        await fleet.round(59)
        assert await fleet.alerts() == []
        await fleet.round(60)
        assert await fleet.alerts() == [("NO_DATA", "a", False)]
        await fleet.change_rule("name = 'another'", at=61, which="built_in IS NULL")
        await fleet.round(62)
        assert await fleet.alerts() == [("NO_DATA", "a", False)], "a new name ends nothing"


async def test_a_device_that_delivers_a_backlog_lacks_no_metric(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a")
        await fleet.add_rule('{"seconds": 600, "metric": "temp"}')
        await fleet.measure("a", "temp", at=-7200)
        await fleet.hear("a", at=0)
        await fleet.connection.execute("UPDATE device_state SET last_ts = %s", [NOW - timedelta(seconds=7190)])
        await fleet.round(1)
        assert await fleet.alerts() == []
        await fleet.round(595)
        assert sorted(await fleet.told()) == [("NO_DATA", "a"), (NO_HEARTBEAT, "a")], (
            "but one that stopped does, in its own time"
        )


async def test_what_a_person_closed_opens_anew_for_another_silence_or_a_day_later(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a")
        await fleet.hear("a", at=0)
        await fleet.round(300)
        await fleet.close(at=310)
        for moment in (311, 3600, DAY + 309):
            await fleet.round(moment)
            assert await fleet.alerts() == []
        await fleet.round(DAY + 310)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)]
        await fleet.close(at=DAY + 311)
        await fleet.hear("a", at=DAY + 320)
        await fleet.round(DAY + 325)
        await fleet.round(DAY + 620)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)], "it was back in between"
        await fleet.close(at=DAY + 621)
        await fleet.change_rule("parameters = '{\"seconds\": 60}'", at=DAY + 622)
        await fleet.round(DAY + 625)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)], "the rule is another one"


async def test_thirty_minutes_of_our_own_absence_are_held_against_nobody(database: Database) -> None:
    healthy, dead, hourly, new = names(500), ["dead1", "dead2"], names(5, "hourly"), names(10, "new")
    async with open_fleet(database) as fleet:
        await fleet.add(*healthy, *dead, *new, interval=30)
        await fleet.add(*hourly, interval=3600)
        await fleet.listen(-10 * DAY, 0)
        await fleet.hear(*healthy, at=-10)
        await fleet.hear(*dead, at=-5)
        await fleet.hear(*hourly, at=-1800)
        for moment in range(1800, 2400, 5):  # back after half an hour; the healthy are heard again
            await fleet.listen(1800, moment)
            if moment == 1830:
                await fleet.hear(*healthy, at=moment)
            if moment >= 1830 and moment % 60 == 0:
                await fleet.hear(*healthy, at=moment)
            await fleet.look(moment)
        assert sorted(await fleet.alerts("true")) == [(NO_HEARTBEAT, device, False) for device in dead], "ever"


async def test_a_peer_that_stayed_up_makes_nobody_silent_whom_it_did_not_hear(database: Database) -> None:
    healthy, dead, hourly, new = names(500), ["dead1", "dead2"], names(5, "hourly"), names(10, "new")
    async with open_fleet(database) as fleet:
        await fleet.add(*healthy, *dead, *new, "of-the-peer", interval=30)
        await fleet.add(*hourly, interval=3600)
        await fleet.listen(-10 * DAY, 0)
        await fleet.listen(-10 * DAY, 0, by="peer")
        await fleet.hear(*healthy, at=-10, by="one")
        await fleet.hear(*dead, at=-5, by="one")
        await fleet.hear(*hourly, at=-1800, by="one")
        peer = fleet.another_timer()
        for moment in range(60, 2400, 60):
            await fleet.listen(-10 * DAY, moment, by="peer")
            await fleet.hear("of-the-peer", at=moment, by="peer")
            if moment >= 1800:
                await fleet.listen(1800, moment)
                await fleet.hear(*healthy, at=moment, by="one")
                await fleet.look(moment)
            fleet.clock.at = NOW.timestamp() + moment
            await peer.make_round()
        assert sorted(await fleet.alerts("true")) == [(NO_HEARTBEAT, device, False) for device in dead], "ever"


async def test_while_the_clock_is_in_doubt_nobody_is_silent_and_nothing_opens_twice(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b", "c")
        await fleet.hear("a", "b", at=0)
        await fleet.hear("c", at=200)
        await fleet.round(300)
        assert {device for _, device, _ in await fleet.alerts()} == {"a", "b"}
        fleet.clock.trusted, fleet.clock.settled_at = False, NOW.timestamp() + 300
        await fleet.hear("b", at=300)
        await fleet.round(300)
        assert len(await fleet.alerts()) == 2, "from the first moment on"
        await fleet.hear("b", at=400)
        for moment in (400, 900, 5000):
            await fleet.round(moment)
            assert {device for _, device, _ in await fleet.alerts()} == {"a", "b"}, "nothing opens, nothing closes"
        fleet.clock.trusted = True
        # The stretch of the doubt is not known, and of a dead device neither when it was heard.
        await fleet.connection.execute("DELETE FROM listening")
        await fleet.connection.execute(
            "UPDATE device_state SET last_seen_at = NULL, last_heard_at = NULL WHERE device_id = 'a'"
        )
        await fleet.listen(5000, 5010)
        await fleet.look(5010)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)], "b was heard since"
        await fleet.hear("a", at=0)
        await fleet.look(5011)
        await fleet.listen(5000, 5400)
        await fleet.look(5400)
        assert len(await fleet.alerts("device_id = 'a'")) == 1, "silent as before, whatever was listened to"


async def test_before_the_times_of_a_wrong_clock_are_healed_nothing_is_concluded(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a")
        await fleet.hear("a", at=0)
        await fleet.round(299)
        fleet.clock.held_at = NOW.timestamp() + 250  # as ServiceClock.hold does
        await fleet.round(310)
        assert await fleet.alerts() == []
        fleet.clock.held_at = None
        await fleet.round(311)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)]
        await fleet.hear("a", at=5000)
        await fleet.round(400)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)], "a time ahead of ours is no return"


async def test_two_timers_at_once_open_and_close_nothing_twice(database: Database) -> None:
    devices = names(3 * SLICE_DEVICES)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices)
        timers = [fleet.timer, fleet.another_timer(), fleet.another_timer()]
        for turn in range(3):
            began = turn * 1000.0
            await fleet.hear(*devices, at=began)
            for moment in (began + 1, began + 300):
                await fleet.listen(-10 * DAY, moment)
                fleet.clock.at = NOW.timestamp() + moment
                async with trio.open_nursery() as nursery:
                    for timer in timers:
                        nursery.start_soon(timer.make_round)
        await fleet.round(2301)
        assert len(await fleet.alerts()) == len(devices)
        opened, closed = await fleet.events("opened"), await fleet.events("closed")
        assert len(opened) == 3 * len(devices)
        assert len(closed) == 2 * len(devices)


async def test_a_slice_of_another_appliance_is_left_to_it(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(SLICE_DEVICES + 1))
        await fleet.hear(*names(SLICE_DEVICES + 1), at=0)
        with psycopg.connect(database.conninfo()) as peer:
            peer.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key("silence", TENANT, "d000")])
            await fleet.round(300)
        assert await fleet.alerts() == [(NO_HEARTBEAT, names(SLICE_DEVICES + 1)[-1], False)]
        await fleet.round(305)
        assert len(await fleet.alerts()) == SLICE_DEVICES + 1


async def test_a_row_that_a_person_holds_keeps_nothing_else_waiting(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b")
        await fleet.hear("a", "b", at=0)
        await fleet.round(300)
        await fleet.hear("a", "b", at=301)
        with psycopg.connect(database.conninfo()) as person:
            person.execute("SELECT FROM fleet_alert WHERE device_id = 'a' FOR UPDATE")
            await fleet.round(302)
            assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)]
        await fleet.round(303)
        assert await fleet.alerts() == []


async def test_every_tenant_has_the_built_in_rule(database: Database) -> None:
    async with open_fleet(database) as fleet:
        found = await rows(fleet.connection, "SELECT tenant_id, name, enabled, parameters FROM alert_rules")
        assert found == [(TENANT, "No heartbeat", True, {})]
        with pytest.raises(psycopg.errors.CheckViolation):
            await fleet.change_rule("deleted_at = updated_at")


async def test_a_rule_that_cannot_be_read_stops_no_other(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a")
        await fleet.add_rule('{"seconds": "soon"}')
        await fleet.hear("a", at=0)
        await fleet.round(300)
        assert await fleet.alerts() == [(NO_HEARTBEAT, "a", False)]
