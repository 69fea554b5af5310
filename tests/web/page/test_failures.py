"""What people are told while the appliance is not ready."""

from appliance.web.page.failures import trouble_text


def test_the_banner_names_what_is_away_and_what_that_means() -> None:
    assert trouble_text({}) is None
    assert "broker queues messages" in str(trouble_text({"postgres": "restarting", "schema": "unknown"}))
    assert "restarting" in str(trouble_text({"broker": "restarting"}))
    assert "Devices cannot publish" in str(trouble_text({"publishing": "refused"}))
    assert "not stored: a lock" in str(trouble_text({"storing": "a lock"}))
