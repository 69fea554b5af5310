"""Sealed secrets: open with their key and in their place, and nowhere else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.children.data_dir import open_data_dir
from appliance.errors import ApplianceError
from appliance.keyring import KEY_BYTES, Keyring, SealingKey, decode, encode, new_key

SHORT_ID = encode([SealingKey("00", b"x" * KEY_BYTES)])
SHORT_KEY = encode([SealingKey("00" * 8, b"x")])
VAULT = Keyring([new_key()])


@given(st.binary(max_size=200), st.text(st.characters(codec="utf-8"), max_size=50))
def test_what_is_sealed_opens_in_its_place(secret: bytes, purpose: str) -> None:
    sealed = VAULT.seal(secret, purpose)
    assert VAULT.open(sealed, purpose) == secret
    assert len(secret) < 4 or secret not in sealed


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    assert VAULT.seal(b"secret", "place") != VAULT.seal(b"secret", "place")


def test_another_place_opens_nothing() -> None:
    with pytest.raises(ApplianceError, match="moved from its place"):
        VAULT.open(VAULT.seal(b"secret", "users/1"), "users/2")


@given(st.data())
def test_no_changed_byte_goes_unnoticed(data: st.DataObject) -> None:
    sealed = bytearray(VAULT.seal(b"secret", "place"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ApplianceError):
        VAULT.open(bytes(sealed), "place")


@given(st.binary(max_size=40))
def test_what_was_never_sealed_opens_nothing(junk: bytes) -> None:
    with pytest.raises(ApplianceError):
        VAULT.open(junk, "place")


def test_a_newer_key_seals_and_the_older_one_still_opens() -> None:
    old, new = new_key(), new_key()
    sealed = Keyring([old]).seal(b"secret", "place")
    both = Keyring([new, old])
    assert both.open(sealed, "place") == b"secret"
    with pytest.raises(ApplianceError, match=new.id):
        Keyring([old]).open(both.seal(b"secret", "place"), "place")


def test_a_key_is_in_no_repr() -> None:
    key = new_key()
    assert key.secret.hex() not in repr(key)
    assert repr(key.secret) not in repr(key)


def test_the_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    with open_data_dir(tmp_path / "data") as data:
        sealed = data.keyring.seal(b"secret", "place")
    file = tmp_path / "data" / "keys.json"
    assert file.stat().st_mode & 0o777 == 0o600
    with open_data_dir(tmp_path / "data") as data:
        assert data.keyring.open(sealed, "place") == b"secret"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b"nonsense",
        encode([SealingKey("00", b"x" * KEY_BYTES)]),
        encode([SealingKey("00" * 8, b"x")]),
    ],
)
def test_a_damaged_file_is_not_replaced(text: bytes) -> None:
    with pytest.raises(ApplianceError, match="restore it from a backup"):
        decode(text)


def test_the_file_reads_back_as_it_was_written() -> None:
    keys = [new_key(), new_key()]
    assert decode(encode(keys)) == keys
