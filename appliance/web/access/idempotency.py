"""Idempotency-Key: a change of the API that is sent again is answered as before, and does nothing.

Enters: a POST of the API by a person or a token, with a key that its sender made up. Leaves: what the first such
request was answered, for 24 hours. Never: a request that is carried out twice, an answer for another account, and a key
of what was refused, which may be mended and sent again.

The answer is written in the transaction of the change (:mod:`.request_transaction`), so that no crash and no lost
connection comes between the two. Of two at once the second waits: in this process for its turn, so that many
repetitions hold one connection to the database at most, and beyond it for the lock of the key. What is waited for after
the commit, the broker's sync, is added to the kept answer when it is known; lost, the answer says ``pending``, which
was true.

A request that asks for the password of its sender is repeated in the same order as it was made: the password is
checked, with its throttle, before anything is told, or else a key would be a way to guess it.
"""

import functools
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
import psycopg
import structlog
import trio
from quart import Quart, Response, request

from appliance.db.trio_psycopg import Connection
from appliance.devices.credentials import broker_sync
from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.errors import Busy, Invalid, KeyReused
from appliance.keyring import Keyring
from appliance.people.kept_answers import KEY_FIELD, STILL_UNDER_WAY, WAIT_MS, KeptAnswer, KeptAnswers, RequestKey
from appliance.web.access import request_transaction
from appliance.web.access.auth import viewer
from appliance.web.access.request_transaction import RequestTransaction
from appliance.web.access.transactions import Access
from appliance.web.openapi.describe import LEAST_KEY, MOST_KEY, REPLAYED, declared

log = structlog.get_logger(__name__)

FORMAT = f"An {KEY_FIELD} has {LEAST_KEY} to {MOST_KEY} printable ASCII characters, new ones for each request."
ANOTHER_REQUEST = (
    f"This {KEY_FIELD} was used for another request: send that one as it was, or use a new key for a new one."
)
FROM_BROWSER = f"This {KEY_FIELD} was used in a browser session; its answer is not repeated to an API token."
BROKER = "broker"
"""The member of an answer that says whether the broker knows a change."""


class _Replay(Exception):
    """The request was carried out before: found when its first change was about to be made."""

    def __init__(self, kept: KeptAnswer) -> None:
        super().__init__()
        self.kept = kept


@dataclass(slots=True)
class _Turn:
    """The place of equal requests in this process."""

    lock: trio.Lock
    asked: int = 0


@dataclass(slots=True)
class _Stored:
    """An answer that was kept, and as what."""

    answer: KeptAnswer
    sealed: bytes


class Idempotency:
    """Answers requests with a key once."""

    def __init__(self, access: Access, keyring: Keyring) -> None:
        self._access = access
        self._answers = KeptAnswers(keyring)
        self._turns: dict[bytes, _Turn] = {}

    def install(self, app: Quart) -> None:
        """Put it before every operation that takes a key. To be called when all routes are there."""
        for rule in app.url_map.iter_rules():
            operation = declared(app.view_functions[rule.endpoint])
            if operation is not None and any(map(operation.takes_key, rule.methods or ())):
                app.view_functions[rule.endpoint] = self._answering_once(app.view_functions[rule.endpoint])

    def _answering_once(self, view: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(view)
        async def answer(*args: Any, **kwargs: Any) -> Response:
            key = _key_of_request()
            if key is None:
                response: Response = await view(*args, **kwargs)
                return response
            content = await _content_of_request()
            async with self._turn(key.hash):
                return await self._answer(key, content, functools.partial(view, *args, **kwargs))

        return answer

    async def _answer(self, key: RequestKey, content: bytes, view: Callable[[], Any]) -> Response:
        """Answer as before, or carry the request out."""
        async with self._access.reading() as connection:
            kept = await self._answers.find(connection, key, self._access.settled())
        if kept is not None and not kept.asked_password:
            return _replay(kept, content)
        try:
            return await self._carry_out(key, content, view)
        except _Replay as found:
            return _replay(found.kept, content)

    async def _carry_out(self, key: RequestKey, content: bytes, view: Callable[[], Any]) -> Response:
        async def claim(connection: Connection[Any]) -> None:
            kept = await self._answers.claim(connection, key, self._access.settled())
            if kept is not None:
                raise _Replay(kept)

        stored: _Stored | None = None
        try:
            async with AsyncExitStack() as stack:
                transaction = RequestTransaction(stack, claim)
                request_transaction.set_current(transaction)
                response: Response = await view()
                if transaction.connection is not None and response.status_code < HTTPStatus.BAD_REQUEST:
                    answer = await _kept(response, content, asked_password=transaction.asked_password)
                    sealed = await self._answers.keep(transaction.connection, key, answer, self._access.context())
                    stored = _Stored(answer, sealed)
        finally:
            request_transaction.set_current(None)
        if stored is not None and transaction.broker_change is not None:
            return await self._after_sync(key, stored, transaction.broker_change)
        return response

    async def _after_sync(self, key: RequestKey, stored: _Stored, change: str) -> Response:
        """Wait for the broker after the commit, and say in the answer, and in the kept one, how that went."""
        completed = stored.answer
        try:
            connections = self._access.operators.connection
            status = await broker_sync.wait(connections, change, patience=broker_sync.PATIENCE)
            completed = _with_broker(stored.answer, status)
            if completed != stored.answer:
                async with self._access.changing() as connection:
                    await self._answers.complete(connection, key, stored.sealed, completed)
        except (psycopg.Error, trio.TooSlowError) as error:  # the change is committed, and so is its answer
            log.warning("kept answer not completed", operation=key.operation, error=str(error).strip())
        return _response(completed)

    @asynccontextmanager
    async def _turn(self, key_hash: bytes) -> AsyncIterator[None]:
        """Let one request of a key at a time into the block. Raises Busy after WAIT_MS."""
        turn = self._turns.setdefault(key_hash, _Turn(trio.Lock()))
        turn.asked += 1
        try:
            with trio.move_on_after(WAIT_MS / 1000) as scope:
                await turn.lock.acquire()
            if scope.cancelled_caught:
                raise Busy(STILL_UNDER_WAY)
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.asked -= 1
            if not turn.asked:
                del self._turns[key_hash]


def _key_of_request() -> RequestKey | None:
    """Return the key of the current request; None without one. Raises Invalid, which names the header."""
    given = request.headers.getlist(KEY_FIELD)
    if not given:
        return None
    if len(set(given)) > 1:
        raise Invalid(f"Two different {KEY_FIELD}s were sent; send one.", KEY_FIELD)
    secret = given[0]
    if not (LEAST_KEY <= len(secret) <= MOST_KEY and secret.isascii() and secret.isprintable()):
        raise Invalid(FORMAT, KEY_FIELD)
    who = viewer()
    return RequestKey(who.user_id, who.tenant_id, f"{request.method} {request.path}", secret)


async def _content_of_request() -> bytes:
    """Return a hash of what the current request asks for: its query and its body, JSON by what it says."""
    body: bytes = await request.get_data(cache=True, as_text=False)  # type: ignore[assignment] # not as text
    if request.is_json:
        with suppress(msgspec.MsgspecError, RecursionError, UnicodeDecodeError):  # the view says what is wrong with it
            body = msgspec.json.encode(msgspec.json.decode(body), order="sorted")
    asked = (sorted(request.args.items(multi=True)), request.mimetype, body)
    return hashlib.sha256(msgspec.msgpack.encode(asked)).digest()


async def _kept(response: Response, content: bytes, *, asked_password: bool) -> KeptAnswer:
    body = await response.get_data(as_text=False)
    by_session = viewer().session_id is not None
    headers = tuple((name, value) for name, value in response.headers.items() if name != "Content-Length")
    return KeptAnswer(content, by_session, asked_password, response.status_code, headers, body)


def _replay(kept: KeptAnswer, content: bytes) -> Response:
    """Return the kept answer. Raises KeyReused if something else is asked for."""
    if kept.content != content:
        raise KeyReused(ANOTHER_REQUEST)
    if kept.by_session and viewer().session_id is None:
        raise KeyReused(FROM_BROWSER)
    response = _response(kept)
    response.headers[REPLAYED] = "true"
    return response


def _response(kept: KeptAnswer) -> Response:
    response = Response(kept.body, kept.status)
    del response.headers["Content-Type"]
    response.headers.extend(kept.headers)
    return response


def _with_broker(kept: KeptAnswer, status: SyncStatus) -> KeptAnswer:
    """Return an answer that says how the broker's sync went, where it says so at all."""
    pending = SyncStatus.PENDING.value
    try:
        body = msgspec.json.decode(kept.body)
    except msgspec.DecodeError:
        return kept
    if not isinstance(body, dict) or body.get(BROKER) != pending:
        return kept
    return msgspec.structs.replace(kept, body=msgspec.json.encode({**body, BROKER: status.value}))
