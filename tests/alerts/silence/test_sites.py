"""Silent sites: one alert that stands for those of the devices."""

from datetime import timedelta

import psycopg
import trio

from appliance.alerts.silence.site import RETURN_SECONDS
from appliance.subscriptions.lifecycle import SubscriptionType
from tests.alerts.silence.fleet import DAY, Fleet, names, open_fleet
from tests.support.postgres_server import Database
from tests.support.tenants import NOW, rows, sell

SITE, DEVICE = ("SITE_SILENT", None), "NO_HEARTBEAT"


async def run(fleet: Fleet, first: int, last: int, step: int = 5) -> None:
    """Make rounds from ``first`` to before ``last``."""
    for moment in range(first, last, step):
        await fleet.round(moment)


async def test_three_hundred_devices_of_a_site_are_one_alert_that_opens_and_closes_once(database: Database) -> None:
    devices = names(300)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices, "elsewhere", site="barn", interval=20)
        await fleet.connection.execute("UPDATE device_registry SET site_id = 'field' WHERE device_id = 'elsewhere'")
        await fleet.connection.execute("UPDATE sites SET name = 'The Barn' WHERE site_id = 'barn'")
        for number, device in enumerate(devices):
            await fleet.hear(device, at=number / 10)
        for moment in range(290, 400, 5):
            await fleet.hear("elsewhere", at=moment)
            await fleet.round(moment)
        assert await fleet.told() == [SITE]
        assert len(await fleet.alerts("inhibited_by IS NOT NULL")) == 300, "theirs are recorded"
        assert len(await fleet.events("inhibited")) == 300
        assert await fleet.column("summary", "device_id IS NULL") == ["300 of 300 devices at The Barn are silent"]
        assert await fleet.column("severity", "device_id IS NULL") == ["critical"]
        assert await fleet.column("site_id", "device_id IS NULL") == ["barn"]
        back = 0
        for moment in range(400, 440, 5):  # all but one come back
            await fleet.hear(*devices[:back], "elsewhere", at=moment)
            await fleet.round(moment)
            back = min(299, back + 60)
        assert await fleet.told() == []
        for moment in range(440, 530, 5):
            await fleet.hear(*devices[:-1], "elsewhere", at=moment)
            await fleet.round(moment)
        assert await fleet.told() == [(DEVICE, "d299")], "the one that stays dead gets its own"
        assert await fleet.column("due_at", "device_id = 'd299'") > [NOW + timedelta(seconds=500)], "it is told now"
        of_site = [event for event, kind, _ in await fleet.events() if kind == "SITE_SILENT"]
        assert of_site == ["opened", "closed"]
        assert await fleet.events("released") == [("released", DEVICE, "d299")]
        assert await fleet.column("close_reason", "device_id IS NULL") == ["cleared"]
        assert await fleet.column("summary", "device_id IS NULL") == ["300 of 300 devices at The Barn were silent"]


async def test_the_count_updates_in_place(database: Database) -> None:
    devices = names(14)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices, site="barn")
        await fleet.hear(*devices[:12], at=0)
        await fleet.hear(*devices[12:], at=250)
        await fleet.round(301)
        assert await fleet.column("summary", "device_id IS NULL") == ["12 of 14 devices at barn are silent"]
        assert await fleet.column("started_at", "device_id IS NULL") == [NOW]
        await fleet.round(345)
        assert await fleet.column("summary", "device_id IS NULL") == ["14 of 14 devices at barn are silent"]
        await fleet.hear(*devices[:4], at=346)
        await fleet.round(347)
        assert await fleet.column("summary", "device_id IS NULL") == ["10 of 14 devices at barn are silent"]
        assert await fleet.column("details ->> 'silent'", "device_id IS NULL") == ["10"]
        assert await fleet.told() == [SITE]


async def test_less_than_the_share_or_fewer_than_three_are_alerts_of_their_own(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add("a", "b", site="hut")
        await fleet.add(*names(10), site="barn")
        await fleet.add(*names(5, "nowhere"))
        await fleet.add(*names(3, "shed"), *names(20, "unheard"), site="shed")
        await fleet.hear("a", "b", *names(7), *names(5, "nowhere"), *names(3, "shed"), at=0)
        await fleet.hear(*names(10)[7:], at=290)
        await fleet.round(300)
        told = await fleet.told()
        assert told.count(SITE) == 1, "the shed: 20 of its devices are not mounted yet"
        own = {device for kind, device in told if kind == DEVICE}
        assert own == {"a", "b", *names(7), *names(5, "nowhere")}


async def test_ten_minutes_after_the_last_return_the_silent_get_their_own(database: Database) -> None:
    devices = names(10)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices, site="barn")
        await fleet.hear(*devices, at=0)
        await fleet.round(300)
        await fleet.hear(*devices[:3], at=400)
        await fleet.round(401)
        await fleet.hear(*devices[:4], at=900)
        await fleet.round(901)
        for moment in (1000, 1200, 1400, 900 + RETURN_SECONDS):
            await fleet.hear(*devices[:4], at=moment)
            await fleet.round(moment)
            assert await fleet.told() == [SITE]
        await fleet.hear(*devices[:4], at=1501)
        await fleet.round(1501)
        assert await fleet.told() == [(DEVICE, device) for device in devices[4:]]


async def test_ten_minutes_in_which_nobody_listened_do_not_count(database: Database) -> None:
    devices = names(10)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices, site="barn")
        await fleet.hear(*devices, at=0)
        await fleet.round(300)
        await fleet.hear(*devices[:4], at=400)
        await fleet.round(401)
        await fleet.hear(*devices[:4], at=2095)
        await fleet.listen(2000, 2100)
        await fleet.look(2100)
        assert await fleet.told() == [SITE], "we were away for most of the time"
        await fleet.hear(*devices[:4], at=2600)
        await fleet.listen(2000, 2601)
        await fleet.look(2601)
        assert SITE not in await fleet.told()


async def test_a_site_that_stays_silent_is_told_once(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(5), site="barn")
        await fleet.hear(*names(5), at=0)
        await run(fleet, 290, 320)
        await fleet.round(3 * DAY)
        assert await fleet.told() == [SITE]
        assert len(await fleet.events("opened")) == 6


async def test_a_metric_that_one_device_lacks_is_not_the_sites(database: Database) -> None:
    devices = names(5)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices, site="barn")
        await fleet.add_rule('{"seconds": 120, "metric": "temp"}')
        await fleet.measure("d000", "temp", at=0)
        await fleet.hear("d000", at=300)
        await fleet.hear(*devices[1:], at=0)
        await fleet.round(300)
        assert await fleet.told() == [SITE, ("NO_DATA", "d000")]


async def test_an_alert_that_was_told_before_stays_told(database: Database) -> None:
    devices = names(5)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices, site="barn")
        await fleet.hear(*devices, at=0)
        await fleet.hear(*devices[1:], at=300)
        await fleet.round(301)
        assert await fleet.told() == [(DEVICE, "d000")]
        await fleet.round(600)
        assert await fleet.told() == [(DEVICE, "d000"), SITE]


async def test_a_site_that_a_person_closed_stands_until_it_is_heard_or_a_day_later(database: Database) -> None:
    devices = names(5)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices, "late", site="barn")
        await fleet.hear(*devices, at=0)
        await fleet.hear("late", at=200)
        await fleet.round(300)
        assert await fleet.told() == [SITE]
        await fleet.close(at=301, where="device_id IS NULL")
        await fleet.round(500)
        assert await fleet.told() == []
        assert len(await fleet.alerts()) == 6, "the late one, too, is recorded and not told"
        await fleet.round(DAY + 301)
        assert await fleet.told() == [SITE]
        assert len(await fleet.alerts("inhibited_by = (SELECT max(id) FROM fleet_alert)")) == 6
        await fleet.close(at=DAY + 302, where="device_id IS NULL AND status <> 'CLOSED'")
        await fleet.hear(*devices, at=DAY + 303)
        await fleet.round(DAY + 304)
        await fleet.hear(*devices, at=DAY + 390)
        await fleet.round(DAY + 395)
        assert await fleet.told() == [(DEVICE, "late")], "the site is heard again"
        assert await fleet.column("close_reason", "device_id IS NULL") == ["closed", "closed"]
        await fleet.round(DAY + 700)
        assert await fleet.told() == [(DEVICE, "late"), SITE], "another silence"


async def test_after_the_broker_was_away_a_site_is_one_alert_as_well(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(20), site="barn", interval=30)
        await fleet.hear(*names(20), at=0)
        await fleet.listen(-10 * DAY, 5)
        for moment in range(2000, 2400, 5):
            await fleet.listen(2000, moment)
            await fleet.look(moment)
            if moment < 2300:
                assert await fleet.alerts() == []
        assert await fleet.told() == [SITE]


async def test_with_no_rule_in_force_no_site_is_silent(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(5), site="barn")
        await fleet.hear(*names(5), at=0)
        await fleet.round(300)
        await fleet.change_rule("enabled = false", at=301)
        await fleet.round(305)
        assert await fleet.alerts() == []
        assert await fleet.column("close_reason", "device_id IS NULL") == ["rule_disabled"]


async def test_devices_that_leave_the_site_or_are_deactivated_count_no_more(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(5), site="barn")
        await fleet.hear(*names(5), at=0)
        await fleet.round(300)
        await fleet.connection.execute("UPDATE device_registry SET site_id = NULL WHERE device_id = 'd000'")
        await fleet.connection.execute(
            "UPDATE device_registry SET status = 'INACTIVE', subscription_id = NULL WHERE device_id <> 'd000'"
        )
        await fleet.round(305)
        assert await fleet.told() == [(DEVICE, "d000")]


async def test_devices_of_a_lapsed_subscription_count_for_nothing(database: Database) -> None:
    paid, lapsed = names(4), names(16, "lapsed")
    async with open_fleet(database) as fleet:
        await fleet.add(*paid, site="barn")
        trial = await sell(fleet.connection, 100, SubscriptionType.TEMPORARY)
        await fleet.connection.execute(
            "UPDATE subscriptions SET hold_reason = 'unpaid' WHERE subscription_id = %s", [trial.subscription_id]
        )
        fleet.subscription = trial.subscription_id
        await fleet.add(*lapsed, site="barn")
        await fleet.hear(*paid, at=0)
        await fleet.hear(*lapsed, at=299)
        await fleet.round(300)
        assert await fleet.told() == [SITE]
        assert await fleet.column("summary", "device_id IS NULL") == ["4 of 4 devices at barn are silent"]


async def test_two_timers_at_once_open_a_site_once(database: Database) -> None:
    devices = names(600)
    async with open_fleet(database) as fleet:
        await fleet.add(*devices, site="barn")
        await fleet.hear(*devices, at=0)
        await fleet.listen(-10 * DAY, 300)
        fleet.clock.at = NOW.timestamp() + 300
        async with trio.open_nursery() as nursery:
            for timer in (fleet.timer, fleet.another_timer(), fleet.another_timer()):
                nursery.start_soon(timer.make_round)
        await fleet.round(305)
        assert await fleet.told() == [SITE]
        assert len(await fleet.events("inhibited")) == 600
        await fleet.hear(*devices[:-1], at=310)
        await fleet.listen(-10 * DAY, 311)
        fleet.clock.at = NOW.timestamp() + 311
        async with trio.open_nursery() as nursery:
            for timer in (fleet.timer, fleet.another_timer(), fleet.another_timer()):
                nursery.start_soon(timer.make_round)
        await fleet.hear(*devices[:-1], at=400)
        await fleet.round(402)
        assert await fleet.told() == [(DEVICE, devices[-1])]
        assert len(await fleet.events("closed")) == 600
        assert len(await fleet.events("released")) == 1


async def test_a_site_whose_alert_a_person_holds_is_followed_later(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(5), site="barn")
        await fleet.hear(*names(5), at=0)
        await fleet.round(300)
        await fleet.hear(*names(5), at=301)
        with psycopg.connect(database.conninfo()) as person:
            person.execute("SELECT FROM fleet_alert WHERE device_id IS NULL FOR UPDATE")
            await fleet.round(302)
            assert await fleet.alerts() == [(*SITE, False)]
        await fleet.round(303)
        assert await fleet.alerts() == []
        assert await rows(fleet.connection, "SELECT count(*) FROM fleet_alert WHERE past") == [(0,)]


async def test_a_return_that_a_wrong_clock_wrote_keeps_no_alert_back(database: Database) -> None:
    async with open_fleet(database) as fleet:
        await fleet.add(*names(10), site="barn")
        await fleet.hear(*names(10), at=0)
        await fleet.round(300)
        await fleet.hear(*names(9), at=301)
        await fleet.round(302)
        assert await fleet.told() == []
        await fleet.connection.execute(
            'UPDATE fleet_alert SET details = details || \'{"returned_at": "2036-01-01T00:00:00+00:00"}\''
            " WHERE device_id IS NULL"
        )
        await fleet.round(305)
        assert await fleet.told() == [(DEVICE, "d009")]
