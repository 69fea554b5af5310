"""Answers that are kept open with the sender's key and the appliance's own together, and in their place alone."""

from uuid import UUID, uuid4

import pytest

from appliance.errors import Conflict
from appliance.keyring import Keyring, new_key
from appliance.people.kept_answers import KeptAnswer, KeptAnswers, RequestKey, _place

SECRET = b"mqtt-password-of-a-device"
ANSWER = KeptAnswer(b"c" * 32, False, False, 201, (("Location", "/customer/devices/d"),), b'{"p": "' + SECRET + b'"}')
USER = UUID(int=7)


def key(secret: str = "order 4711 of November", operation: str = "POST /customer/devices") -> RequestKey:
    return RequestKey(USER, "acme", operation, secret)


def test_what_is_kept_opens_as_it_was() -> None:
    answers = KeptAnswers(Keyring([new_key()]))
    assert answers._opened(key(), answers._sealed(key(), ANSWER)) == ANSWER
    assert answers._sealed(key(), ANSWER) != answers._sealed(key(), ANSWER), "equal answers do not show that they are"


def test_neither_the_appliances_key_nor_the_senders_opens_it_alone() -> None:
    keyring = Keyring([new_key()])
    sealed = KeptAnswers(keyring)._sealed(key(), ANSWER)
    half_open = keyring.open(sealed, _place(key()))
    for seen in (sealed, half_open):
        assert SECRET not in seen
        assert b"order 4711" not in seen
    with pytest.raises(Conflict, match="carried out before"):
        KeptAnswers(Keyring([new_key()]))._opened(key(), sealed)


@pytest.mark.parametrize(
    "other",
    [
        key("order 4711 of December"),
        key(operation="POST /customer/sites"),
        RequestKey(uuid4(), "acme", "POST /customer/devices", "order 4711 of November"),
    ],
)
def test_it_opens_for_no_other_key_operation_or_account(other: RequestKey) -> None:
    answers = KeptAnswers(Keyring([new_key()]))
    sealed = answers._sealed(key(), ANSWER)
    with pytest.raises(Conflict):
        answers._opened(other, sealed)
    assert other.hash != key().hash


def test_a_key_is_not_shown() -> None:
    assert "4711" not in repr(key())
    assert b"4711" not in key().hash
