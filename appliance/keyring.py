"""Secrets that must be read again, sealed with the appliance's key: AES-256-GCM, the key in a file beside the database.

A copy of the database alone gives none of them away. What is sealed names its key, so that a key can be followed by a
newer one; and it is bound to its place (``purpose``), so that it opens nowhere else, whoever moves it there.
"""

import os
import secrets
from collections.abc import Sequence

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from appliance.errors import ApplianceError

FORMAT = b"\x01"
"""Of what is sealed: this byte, the key's id, the nonce, and what AES-GCM makes of the rest."""
ID_BYTES = 8
KEY_BYTES = 32
NONCE_BYTES = 12
"""Random: 2^32 seals under one key are safe (NIST SP 800-38D §8.3); these are a few for each person."""
_ID = slice(len(FORMAT), len(FORMAT) + ID_BYTES)
_NONCE = slice(_ID.stop, _ID.stop + NONCE_BYTES)
_REST = slice(_NONCE.stop, None)


class SealingKey(msgspec.Struct, frozen=True):
    """One key, as it stands in the file."""

    id: str
    secret: bytes

    def __repr__(self) -> str:
        """Without the secret."""
        return f"SealingKey(id={self.id!r})"


class Keyring:
    """Seals with the first of its keys, and opens with each."""

    def __init__(self, keys: Sequence[SealingKey]) -> None:
        self._ciphers = {bytes.fromhex(key.id): AESGCM(key.secret) for key in keys}
        self._newest = bytes.fromhex(keys[0].id)

    def seal(self, secret: bytes, purpose: str) -> bytes:
        """``secret`` so that only :meth:`open` with the same ``purpose`` reads it."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._ciphers[self._newest].encrypt(nonce, secret, purpose.encode())
        return FORMAT + self._newest + nonce + sealed

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed. Raises ApplianceError for another key's, another purpose's, or changed bytes."""
        key_id, nonce, rest = sealed[_ID], sealed[_NONCE], sealed[_REST]
        cipher = self._ciphers.get(key_id)
        if not sealed.startswith(FORMAT) or cipher is None:
            raise ApplianceError(
                f"a secret was sealed with the key {key_id.hex()}, which is not in keys.json of this data_dir: "
                "bring the file of the appliance that sealed it"
            )
        try:
            return cipher.decrypt(nonce, rest, purpose.encode())
        except InvalidTag:
            raise ApplianceError(f"a sealed secret ({purpose}) was changed, or moved from its place") from None


def new_key() -> SealingKey:
    """A key of our own making."""
    return SealingKey(secrets.token_hex(ID_BYTES), secrets.token_bytes(KEY_BYTES))


def encode(keys: Sequence[SealingKey]) -> bytes:
    """The file's text, newest key first."""
    return msgspec.json.format(msgspec.json.encode(keys)) + b"\n"


def decode(text: bytes) -> list[SealingKey]:
    """The keys of the file. Raises ApplianceError when it holds none, or something else."""
    try:
        keys = msgspec.json.decode(text, type=list[SealingKey])
        if keys and all(len(key.secret) == KEY_BYTES and len(bytes.fromhex(key.id)) == ID_BYTES for key in keys):
            return keys
    except (msgspec.MsgspecError, ValueError):
        pass
    raise ApplianceError("keys.json is damaged: restore it from a backup; without it, sealed secrets are lost")
