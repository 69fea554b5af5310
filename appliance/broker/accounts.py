"""A user of the embedded broker: its name, and its password as the broker's file stores it."""

import base64
import hashlib
import secrets
import string

PRIVATE_USER = "appliance"
"""The appliance's own user. Its tenant has the same name and no claim user; no customer may have it."""
PROBE_USER = "appliance/probe"
"""The user that tries the device listener; no tenant and no device can have this name."""
PROBE_TOPIC = "appliance/probe"
"""The only topic that it publishes to; no device may."""
SWEEP_TOPIC = "appliance/sweep"
"""The topic on which the appliance marks the end of a sweep of retained messages; no device may publish there."""

HASH_ITERATIONS = 1
"""Every password is random, at least 128 bits, so stretching adds nothing; and the broker hashes the password of each
connected client anew at each reload: with 101 rounds, mosquitto_passwd's number, 5,000 clients stop it for a second."""
SALT_BYTES = 12
SECRET_CHARACTERS = string.ascii_letters + string.digits
SECRET_LENGTH = 24
"""Of 62 characters: 142 bits. Letters and digits only: a shell, a URL and a firmware's form take it as it is."""


def device_user(tenant_id: str, device_id: str) -> str:
    """Return the user name of a device; the ACL patterns confine it by this very name."""
    return f"{tenant_id}/device/{device_id}"


def new_secret() -> str:
    """Return a random password or token of SECRET_LENGTH characters."""
    return "".join(secrets.choice(SECRET_CHARACTERS) for _ in range(SECRET_LENGTH))


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return ``password`` in Mosquitto 2's format: PBKDF2-SHA512, ``$7$iterations$salt$hash``."""
    salt = salt or secrets.token_bytes(SALT_BYTES)
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, HASH_ITERATIONS)
    return f"$7${HASH_ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"
