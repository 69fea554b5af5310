"""Answers to requests of the API, kept so that a request that is sent again is answered and does nothing.

A request is told by its account, its operation and the Idempotency-Key that its sender made up. Only a hash of the key
is stored. What was asked and answered is sealed with a key that is derived from the Idempotency-Key, and again with the
appliance's own: one-time secrets of an answer open with the database, keys.json and the sender's key together, and with
no two of them. A weak key, such as a number of an order, gives nothing away to whoever has a copy of the database.

Nothing here decides when an answer is kept: the caller writes it in the transaction of the change, after :func:`claim`.
"""

import hashlib
import os
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from appliance.db import locks, statements
from appliance.db.change_context import ChangeContext
from appliance.db.require import require
from appliance.db.trio_psycopg import Connection
from appliance.errors import ApplianceError, Busy, Conflict, Invalid
from appliance.keyring import Keyring

STATEMENTS = statements.load("api_requests")

KEY_FIELD = "Idempotency-Key"
"""The header by which a request is told from its repetitions."""
KEPT = timedelta(hours=24)
"""How long an answer is kept; then its key is free again."""
MOST_BYTES = 4 * 1024 * 1024
"""Bytes of an answer that is kept: 20,000 new devices with their secrets."""
LARGE_BYTES = 64 * 1024
"""Bytes from which an answer counts as large. All others together are bounded by how often an account may ask."""
MOST_BYTES_A_USER = 64 * 1024 * 1024
"""Bytes of all answers of an account beyond which no large one is kept, so that a table cannot fill the disk."""
WAIT_MS = 10_000
"""Milliseconds that a request waits for an equal one that is being carried out, by this process or another."""
STILL_UNDER_WAY = "The first request with this Idempotency-Key is still under way; send it again in a moment."
UNREADABLE = (
    "This request was carried out before, and its answer cannot be read any more: keys.json has changed since. "
    "Look at what it made; use a new Idempotency-Key for a new request."
)
TOO_LARGE = (
    f"The answer would be larger than the {MOST_BYTES // 1024**2} MiB that are kept. Nothing was changed; ask for less "
    "at once, or send the request without Idempotency-Key."
)
TOO_MUCH = (
    "Too many large answers of this account are kept already. Nothing was changed; wait until some are a day old, or "
    "send the request without Idempotency-Key."
)
SALT_BYTES, NONCE_BYTES, KEY_BYTES = 16, 12, 32
PURPOSE = b"appliance api request"


class KeptAnswer(msgspec.Struct, frozen=True):
    """What was asked and answered."""

    content: bytes
    """SHA-256 of what was sent beside the key: the query and the body."""
    by_session: bool
    """It came from a browser; what a browser was answered is no program's."""
    asked_password: bool
    """The password of the account was checked: it is checked again before this is told to anybody."""
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class RequestKey:
    """An Idempotency-Key of an account for one operation."""

    user_id: UUID
    tenant_id: str | None
    """None: an operator."""
    operation: str
    """Method and path."""
    secret: str = field(repr=False)
    """As it was sent."""

    @property
    def hash(self) -> bytes:
        """Return what is stored of it."""
        named = "\0".join((str(self.user_id), self.operation, self.secret))
        return hashlib.sha256(named.encode()).digest()


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """The answers that are kept, on connections of the caller."""

    keyring: Keyring

    async def claim(self, connection: Connection[Any], key: RequestKey, settled: datetime) -> KeptAnswer | None:
        """Take the key until the end of the transaction, and return what was answered to it before, if anything.

        Waits for another transaction that has taken it. Raises Busy if that takes longer than WAIT_MS, which also
        aborts the transaction; Conflict for an answer that cannot be read.
        """
        await connection.execute(STATEMENTS["limit_wait"], {"milliseconds": WAIT_MS})
        try:
            await locks.lock_until_commit(connection, [locks.lock_key("api request", key.hash.hex())])
        except psycopg.errors.LockNotAvailable:
            raise Busy(STILL_UNDER_WAY) from None
        await connection.execute(STATEMENTS["end_wait"])
        return await self.find(connection, key, settled)

    async def find(self, connection: Connection[Any], key: RequestKey, settled: datetime) -> KeptAnswer | None:
        """Return what was answered to the key before; None if it is new or free again. Raises Conflict."""
        parameters = {"user": key.user_id, "hash": key.hash, "settled": settled}
        row = await (await connection.execute(STATEMENTS["select_answer"], parameters)).fetchone()
        return None if row is None else self._opened(key, bytes(row[0]))

    async def keep(
        self, connection: Connection[Any], key: RequestKey, answer: KeptAnswer, context: ChangeContext
    ) -> bytes:
        """Keep an answer in the transaction that claimed its key; return it as it is stored.

        Raises Invalid for one that is too large; Conflict if the account has too many large ones.
        """
        if len(answer.body) > MOST_BYTES:
            raise Invalid(TOO_LARGE, KEY_FIELD)
        if len(answer.body) > LARGE_BYTES:
            await self._check_room(connection, key.user_id, len(answer.body))
        sealed = self._sealed(key, answer)
        parameters = {
            "user": key.user_id,
            "hash": key.hash,
            "tenant": key.tenant_id,
            "sealed": sealed,
            "now": context.now,
            "settled": context.settled,
            "until": context.now + KEPT,
        }
        cursor = await connection.execute(STATEMENTS["keep_answer"], parameters)
        if cursor.rowcount != 1:
            raise RuntimeError("an answer is kept under a claimed key")
        return sealed

    async def complete(self, connection: Connection[Any], key: RequestKey, before: bytes, answer: KeptAnswer) -> None:
        """Replace the answer that was stored as ``before``, unless the key is another request's by now."""
        parameters = {"user": key.user_id, "hash": key.hash, "before": before, "sealed": self._sealed(key, answer)}
        await connection.execute(STATEMENTS["complete_answer"], parameters)

    async def _check_room(self, connection: Connection[Any], user_id: UUID, more: int) -> None:
        row = await (await connection.execute(STATEMENTS["sum_kept"], {"user": user_id})).fetchone()
        if require(row, "sum")[0] + more > MOST_BYTES_A_USER:
            raise Conflict(TOO_MUCH)

    def _sealed(self, key: RequestKey, answer: KeptAnswer) -> bytes:
        salt, nonce = os.urandom(SALT_BYTES), os.urandom(NONCE_BYTES)
        inner = _cipher(key, salt).encrypt(nonce, msgspec.msgpack.encode(answer), key.hash)
        return self.keyring.seal(salt + nonce + inner, _place(key))

    def _opened(self, key: RequestKey, sealed: bytes) -> KeptAnswer:
        try:
            inner = self.keyring.open(sealed, _place(key))
            salt, nonce, rest = inner[:SALT_BYTES], inner[SALT_BYTES:][:NONCE_BYTES], inner[SALT_BYTES + NONCE_BYTES :]
            opened = _cipher(key, salt).decrypt(nonce, rest, key.hash)
        except (ApplianceError, InvalidTag):
            raise Conflict(UNREADABLE) from None
        return msgspec.msgpack.decode(opened, type=KeptAnswer)


async def forget_over(connection: Connection[Any], settled: datetime) -> None:
    """Drop the answers whose keys are free again."""
    await connection.execute(STATEMENTS["forget_over"], {"settled": settled})


async def heal(connection: Connection[Any], now: datetime) -> None:
    """Let no answer be kept longer than it may, although a wrong clock said so."""
    await connection.execute(STATEMENTS["heal_requests"], {"now": now, "latest": now + KEPT})


async def carry(connection: Connection[Any], since: datetime, step: timedelta) -> None:
    """Keep the answers that were kept at ``since`` through a step ahead of the service time."""
    await connection.execute(STATEMENTS["carry_requests"], {"since": since, "step": step})


def _cipher(key: RequestKey, salt: bytes) -> AESGCM:
    derived = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=PURPOSE + key.hash)
    return AESGCM(derived.derive(key.secret.encode()))


def _place(key: RequestKey) -> str:
    return f"answer to the request {key.hash.hex()}"
