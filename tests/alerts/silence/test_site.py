"""When a site is silent, and what its alert says."""

from datetime import UTC, datetime, timedelta

from appliance.alerts.silence.site import SiteCount, SitePolicy, SiteSilence

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
POLICY = SitePolicy(devices=3, share=0.8)


def count(silent: int, devices: int) -> SiteCount:
    return SiteCount("Barn", devices, silent, NOW)


def test_a_site_is_silent_from_three_devices_and_four_fifths_on() -> None:
    assert count(3, 3).falls_silent(POLICY)
    assert count(4, 5).falls_silent(POLICY)
    assert not count(2, 2).falls_silent(POLICY)
    assert not count(3, 4).falls_silent(POLICY)
    assert count(5, 10).falls_silent(SitePolicy(devices=5, share=0.5))


def test_a_site_is_heard_with_a_fifth_of_it_still_silent() -> None:
    assert count(1, 5).is_heard()
    assert not count(2, 9).is_heard()
    assert count(0, 0).is_heard()


def test_the_alert_follows_the_count_and_keeps_the_most() -> None:
    silence = SiteSilence.begin(count(12, 14))
    assert silence.present("Barn") == "12 of 14 devices at Barn are silent"
    silence = silence.follow(count(14, 14), NOW)
    assert silence.returned_at is None, "more fell silent, nobody came back"
    silence = silence.follow(count(10, 14), NOW)
    assert silence.returned_at == NOW.isoformat()
    assert SiteSilence.of(silence.details) == silence
    assert silence.present("Barn") == "10 of 14 devices at Barn are silent"
    assert silence.past("Barn") == "14 of 14 devices at Barn were silent"
    assert SiteSilence(0, 0, 3).past("Barn") == "3 of 3 devices at Barn were silent"


def test_a_return_in_the_future_counts_from_now_on() -> None:
    silence = SiteSilence(3, 3, 3, (NOW + timedelta(days=3650)).isoformat())
    assert silence.follow(count(3, 3), NOW).returned_at == NOW.isoformat()
