"""What must not leave the appliance is taken out of texts, whoever wrote them."""

import pytest

from appliance.support_bundle.scrub import Scrubber


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("connects with s3cret-words now", "connects with ******** now"),
        ("POST https://hooks.example/T01/B02/x?token=1 failed", "POST https://hooks.example/… failed"),
        ("postgresql://kim:pw-of-kim@db.example:5432/edge?x=1", "postgresql://db.example:5432/…"),
        ("mqtts://user@broker.example", "mqtts://broker.example"),
        ("http://h?key=1 and http://h", "http://h and http://h"),
        ("mail to kim.b@example.co.uk was refused", "mail to …@… was refused"),
        ("signed by whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "signed by ********"),
        ("nothing to hide: 12:30, v1.2.3, /var/lib", "nothing to hide: 12:30, v1.2.3, /var/lib"),
    ],
)
def test_secrets_mail_addresses_and_paths_of_urls_are_taken_out(text: str, left: str) -> None:
    assert Scrubber(["s3cret-words", "", "short"]).text(text) == left


def test_who_is_on_the_appliance_has_a_number() -> None:
    scrubber = Scrubber([])
    assert not scrubber.knows_names
    scrubber.name("tenant", ["acme", "acme.north"])
    scrubber.name("device", ["pump-1", "acme"])
    assert scrubber.text("acme: device pump-1 of acme.north. Not pump-12.") == (
        "tenant-1: device device-1 of tenant-2. Not pump-12."
    )
    assert scrubber.knows_names


def test_a_secret_that_holds_another_goes_whole() -> None:
    assert Scrubber(["secret", "secret-and-more"]).text("secret-and-more") == "********"


def test_json_stays_json_and_keys_stay() -> None:
    scrubber = Scrubber(["s3cret-words"])
    scrubber.name("tenant", ["name"])
    assert scrubber.value({"name": ["s3cret-words", 1, None, ("name", True)]}) == {
        "name": ["********", 1, None, ["tenant-1", True]]
    }
