"""Notifications: none is lost, none comes twice, and no wait is longer than was asked for."""

from typing import Any

import psycopg
import pytest
import trio
from psycopg import Notify

from appliance.db.trio_psycopg import Connection
from tests.db.conftest import Observer
from tests.db.trio_psycopg.conftest import value

Any_ = Connection[Any]

pytestmark = pytest.mark.usefixtures("never_stuck")

PATIENCE_SECONDS = 20.0


@pytest.fixture
async def listening(connection: Any_) -> Any_:
    """The connection under test, which listens to ``news``."""
    await connection.execute("LISTEN news")
    return connection


async def _send(observer: Observer, *payloads: str) -> None:
    """Send notifications in one transaction."""
    async with observer.connection.transaction():
        for payload in payloads:
            await observer.connection.execute("SELECT pg_notify('news', %s)", [payload])


async def _payloads(connection: Any_, timeout: float | None = 0, stop_after: int | None = None) -> list[str]:
    return [heard.payload async for heard in connection.notifies(timeout=timeout, stop_after=stop_after)]


async def _arrival(connection: Any_) -> None:
    """Return once the socket has something to read."""
    await trio.lowlevel.wait_readable(connection.pgconn.socket)


async def test_without_time_to_wait_those_that_are_there_are_had(listening: Any_, observer: Observer) -> None:
    assert await _payloads(listening) == []
    await _send(observer, "1", "2")
    await _arrival(listening)
    assert await _payloads(listening) == ["1", "2"]
    assert await _payloads(listening) == []


async def test_those_that_came_with_another_statement_are_had_too(listening: Any_, observer: Observer) -> None:
    await _send(observer, "before")
    await _arrival(listening)
    assert await value(listening) == 7
    await _send(observer, "after")
    await _arrival(listening)
    assert await _payloads(listening) == ["before", "after"]


async def test_those_that_libpq_has_read_already_need_nothing_new_on_the_socket(
    listening: Any_, observer: Observer
) -> None:
    await _send(observer, "read")
    await _arrival(listening)
    listening.pgconn.consume_input()
    assert await _payloads(listening, timeout=None, stop_after=1) == ["read"]


async def test_a_notification_tells_channel_payload_and_sender(listening: Any_, observer: Observer) -> None:
    await _send(observer, "größer")
    pid = observer.connection.pgconn.backend_pid
    assert [heard async for heard in listening.notifies(timeout=PATIENCE_SECONDS, stop_after=1)] == [
        Notify("news", "größer", pid)
    ]


async def test_one_s_own_notifications_are_heard(listening: Any_) -> None:
    await listening.execute("NOTIFY news, 'own'")
    assert await _payloads(listening) == ["own"]


async def test_none_is_heard_before_its_transaction_commits(listening: Any_, observer: Observer) -> None:
    async with observer.connection.transaction(force_rollback=True):
        await observer.connection.execute("NOTIFY news, 'never'")
    await _send(observer, "committed")
    assert await _payloads(listening, PATIENCE_SECONDS, stop_after=1) == ["committed"]


async def test_those_that_come_together_are_all_yielded(listening: Any_, observer: Observer) -> None:
    await _send(observer, "1", "2", "3")
    await _arrival(listening)
    assert await _payloads(listening, PATIENCE_SECONDS, stop_after=1) == ["1", "2", "3"]


async def test_stop_after_leaves_later_ones_for_the_next_call(listening: Any_, observer: Observer) -> None:
    heard = []
    await _send(observer, "1")
    async for notification in listening.notifies(timeout=PATIENCE_SECONDS, stop_after=2):
        heard.append(notification.payload)
        if len(heard) == 1:
            await _send(observer, "2")
            await _arrival(listening)
        elif len(heard) == 2:
            await _send(observer, "3")
            await _arrival(listening)
    assert heard == ["1", "2"]
    assert await _payloads(listening) == ["3"]


async def test_the_connection_may_be_used_while_one_is_handled(listening: Any_, observer: Observer) -> None:
    await _send(observer, "1", "2")
    heard = []
    async for notification in listening.notifies(timeout=PATIENCE_SECONDS, stop_after=3):
        heard.append((notification.payload, await value(listening)))
        if notification.payload == "2":
            await listening.execute("NOTIFY news, '3'")
    assert heard == [("1", 7), ("2", 7), ("3", 7)]


async def test_a_cancelled_wait_loses_none(listening: Any_, observer: Observer) -> None:
    with trio.move_on_after(0.02) as scope:
        await _payloads(listening, timeout=None)
    assert scope.cancelled_caught
    await _send(observer, "1")
    assert await _payloads(listening, PATIENCE_SECONDS, stop_after=1) == ["1"]


async def test_a_cancelled_wait_may_be_repeated(listening: Any_, observer: Observer) -> None:
    heard = listening.notifies()
    for number in range(3):
        with trio.move_on_after(0.01) as scope:
            await anext(heard)
        assert scope.cancelled_caught
        await _send(observer, str(number))
        assert (await anext(heard)).payload == str(number)
    await heard.aclose()
    assert [notification async for notification in heard] == []
    with pytest.raises(ZeroDivisionError):
        await listening.notifies().athrow(ZeroDivisionError)


async def test_a_cancelled_task_does_not_begin_to_listen(listening: Any_) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await _payloads(listening)
    assert scope.cancelled_caught


async def test_the_time_includes_the_wait_for_the_connection(listening: Any_, observer: Observer) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listening.execute, "SELECT pg_sleep(60)")
        await observer.until_waiting("PgSleep")
        assert await _payloads(listening, timeout=0.01) == []
        nursery.cancel_scope.cancel()


async def test_two_tasks_that_listen_on_one_connection_share_what_comes(listening: Any_, observer: Observer) -> None:
    heard: list[str] = []

    async def listen() -> None:
        async for notification in listening.notifies(timeout=PATIENCE_SECONDS):
            heard.append(notification.payload)
            if len(heard) == 2:
                nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(listen)
        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        await _send(observer, "1")
        await _send(observer, "2")
    assert sorted(heard) == ["1", "2"]


async def test_handlers_are_called_while_other_statements_run(listening: Any_, observer: Observer) -> None:
    heard: list[str] = []

    def handle(notification: Notify) -> None:
        heard.append(notification.payload)

    listening.add_notify_handler(handle)
    await _send(observer, "1")
    await _arrival(listening)
    await listening.execute("SELECT 1")
    listening.remove_notify_handler(handle)
    await _send(observer, "2")
    assert heard == ["1"]
    assert await _payloads(listening, PATIENCE_SECONDS, stop_after=1) == ["2"]
    with pytest.raises(ValueError, match="not in list"):
        listening.remove_notify_handler(handle)


async def test_handlers_beside_a_generator_both_hear_and_a_warning_says_so(listening: Any_, observer: Observer) -> None:
    heard: list[str] = []
    listening.add_notify_handler(lambda notification: heard.append(notification.payload))
    await _send(observer, "1")
    with pytest.warns(RuntimeWarning, match="notifies"):
        assert await _payloads(listening, PATIENCE_SECONDS, stop_after=1) == ["1"]
    assert heard == ["1"]


async def test_a_lost_connection_is_an_error_for_who_listens(listening: Any_, observer: Observer) -> None:
    await observer.connection.execute("SELECT pg_terminate_backend(%s)", [listening.pgconn.backend_pid])
    with pytest.raises(psycopg.OperationalError):
        await _payloads(listening, timeout=None)
    assert listening.broken
