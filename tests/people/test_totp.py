"""One-time codes: the vectors of RFC 6238, each good once."""

import pytest

from appliance.people import totp

SECRET = b"12345678901234567890"


@pytest.mark.parametrize(
    ("time", "code"),
    [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")],
)
def test_the_vectors_of_rfc_6238(time: int, code: str) -> None:
    assert totp.code(SECRET, time // totp.STEP) == code
    assert totp.step_of(SECRET, code, [time], None) == time // totp.STEP


def test_a_telephone_may_be_one_step_off_and_no_more() -> None:
    now = 1111111111
    step = now // totp.STEP
    fits = [totp.step_of(SECRET, totp.code(SECRET, step + off), [now], None) for off in (-2, -1, 0, 1, 2)]
    assert fits == [None, step - 1, step, step + 1, None]


def test_a_code_is_good_once_and_so_are_all_before_it() -> None:
    now = 1111111111
    step = now // totp.STEP
    assert totp.step_of(SECRET, totp.code(SECRET, step), [now], step) is None
    assert totp.step_of(SECRET, totp.code(SECRET, step - 1), [now], step) is None
    assert totp.step_of(SECRET, totp.code(SECRET, step + 1), [now], step) == step + 1


@pytest.mark.parametrize("given", ["", "12345", "abcdef", "\uff11\uff12\uff13\uff14\uff15\uff16", "\ud800", "0" * 1000])
def test_what_is_no_code_fits_nothing(given: str) -> None:
    assert totp.step_of(SECRET, given, [59], None) is None


def test_blanks_in_a_code_do_no_harm() -> None:
    assert totp.step_of(SECRET, " 287 082 ", [59], None) == 1


def test_a_secret_can_be_typed_and_read_back() -> None:
    secret = totp.new_secret()
    assert totp.parse(totp.typed(secret)) == secret
    assert totp.parse(totp.typed(secret).lower()) == secret
    for nonsense in ("", "1", "ABCD", totp.typed(secret)[:-1]):
        assert totp.parse(nonsense) is None


def test_the_address_is_what_authenticators_open() -> None:
    address = totp.address(SECRET, "ingrid@acme.example", "barn 1")
    assert address.startswith("otpauth://totp/Edge%20Appliance%20barn%201%3Aingrid%40acme.example?secret=GEZDGNBV")
    assert "issuer=Edge%20Appliance%20barn%201" in address
