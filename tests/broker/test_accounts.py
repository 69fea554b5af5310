"""Names and hashes of broker users."""

import base64
import hashlib

from appliance.broker.accounts import HASH_ITERATIONS, device_user, hash_password, new_secret


def test_a_hash_is_mosquittos_own() -> None:
    salt = b"\x01" * 12
    kind, iterations, stored_salt, digest = hash_password("secret", salt).split("$")[1:]
    assert (kind, iterations, base64.b64decode(stored_salt)) == ("7", str(HASH_ITERATIONS), salt)
    assert base64.b64decode(digest) == hashlib.pbkdf2_hmac("sha512", b"secret", salt, HASH_ITERATIONS)
    assert hash_password("secret") != hash_password("secret")


def test_secrets_have_128_bits_and_nothing_a_shell_would_take_apart() -> None:
    secrets = {new_secret() for _ in range(1000)}
    assert len(secrets) == 1000
    assert all(secret.isascii() and secret.isalnum() and 62 ** len(secret) > 2**128 for secret in secrets)


def test_a_devices_user_spells_its_topics() -> None:
    assert device_user("acme", "d1") == "acme/device/d1"
