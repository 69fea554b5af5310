"""What goes wrong around couriers: a stop, Postgres away, a bug, secrets of another key, a receiver that hangs."""

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
import trio

from appliance.db import roles
from appliance.delivery.integrations.integration import secret_purpose
from appliance.delivery.links.acknowledge_link import AcknowledgeLinks
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outbox.claims import Claims
from appliance.delivery.senders.sender import Outcome, Target, Verdict
from appliance.keyring import Keyring, new_key
from tests.support.alerts import add_alert
from tests.support.couriers import DELIVERED, NOON, PlayedSender, SetClock, answering, open_couriers, rows, states
from tests.support.postgres_server import (
    TEMPLATE,
    Database,
    PostgresServer,
    create_database,
    make_template,
)
from tests.support.routes import add_integration, add_route


def receive(database: Database, **integration: Any) -> UUID:
    integration_id = add_integration(database, **integration)
    add_route(database, integration_id)
    return integration_id


def alert(database: Database) -> int:
    return add_alert(database, created_at=datetime.fromtimestamp(NOON, UTC))


async def hang(_target: Target, _notice: Notice) -> Outcome:
    await trio.sleep_forever()
    raise AssertionError


async def until(sender: PlayedSender, count: int) -> None:
    with trio.fail_after(30):
        while len(sender.sent) < count:
            await trio.sleep(0.01)


async def test_a_stop_gives_back_what_is_under_way_and_the_next_start_sends_it_again(database: Database) -> None:
    receive(database)
    hanging = PlayedSender(hang)
    async with open_couriers(database, hanging) as couriers:
        one = alert(database)
        await until(hanging, 1)
        began = trio.current_time()
        couriers.dispatcher.begin_drain()
        alert(database)
    assert trio.current_time() - began < 10
    assert len(hanging.sent) == 1, "nothing new is claimed"
    [(status, reason, receipt, leased_by)] = rows(
        database, "SELECT status, reason, receipt, leased_by FROM delivery_jobs WHERE alert_id = %s", one
    )
    assert (status, reason, receipt, leased_by) == ("PENDING", "retrying", "possible", None)
    assert rows(database, "SELECT outcome FROM delivery_attempts") == [("lost",)]
    again = PlayedSender()
    async with open_couriers(database, again) as couriers:
        await couriers.rest()
    assert again.sent[0].message_id == hanging.sent[0].message_id
    assert {row[2] for row in states(database)} == {"COMPLETED"}


async def test_a_send_that_ends_within_the_drain_is_written_down(database: Database) -> None:
    receive(database)
    go_on = trio.Event()

    async def answer(_target: Target, _notice: Notice) -> Outcome:
        await go_on.wait()
        return DELIVERED

    sender = PlayedSender(answer)
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await until(sender, 1)
        couriers.dispatcher.begin_drain()
        go_on.set()
    assert states(database) == [(one, "OPEN", "COMPLETED", None)]


async def test_a_receiver_that_hangs_is_given_up_and_may_have_it(database: Database) -> None:
    receive(database)
    sender = PlayedSender(hang)
    async with open_couriers(database, sender, send_seconds=0.2) as couriers:
        alert(database)
        await until(sender, 1)
        await couriers.rest()
    assert rows(database, "SELECT status, receipt, tries FROM delivery_jobs") == [("PENDING", "possible", 1)]
    assert rows(database, "SELECT outcome, error FROM delivery_attempts") == [("retry", "No answer within 0.2 s.")]


async def test_receivers_that_hang_delay_no_other(database: Database) -> None:
    for _ in range(3):
        receive(database, type="hangs")
    receive(database)
    hanging, good = PlayedSender(hang, type="hangs"), PlayedSender()
    async with open_couriers(database, hanging, good):
        alerts = [alert(database) for _ in range(10)]
        await until(good, 10)
        assert hanging.at_a_time == hanging.most_at_a_time == 6, "two of each, and all of them still under way"
    assert sorted(good.told()) == [("OPEN", one) for one in alerts]


async def test_a_bug_in_a_claim_costs_a_pause_and_is_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive(database)
    sender, claim, left = PlayedSender(), Claims.claim, [1]

    async def fail_once(self: Claims, *given: Any) -> Any:
        if left:
            left.pop()
            raise RuntimeError("a bug")
        return await claim(self, *given)

    monkeypatch.setattr(Claims, "claim", fail_once)
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await until(sender, 1)
        await couriers.rest()
    text = couriers.metrics.exposition().decode()
    assert states(database) == [(one, "OPEN", "COMPLETED", None)]
    assert 'appliance_task_restarts_total{task="courier"} 1.0' in text
    assert 'appliance_deliveries_total{outcome="delivered",type="webhook"} 1.0' in text


async def test_a_sender_gets_the_secrets_opened_and_a_link_that_acknowledges(database: Database) -> None:
    keyring = Keyring([new_key()])
    integration_id = receive(database)
    sealed = keyring.seal(b"hush", secret_purpose("acme", integration_id, "token"))
    rows(
        database,
        "UPDATE integrations SET secrets = jsonb_build_object('token', %s::text)",
        base64.b64encode(sealed).decode(),
    )
    sender = PlayedSender()
    async with open_couriers(database, sender, keyring=keyring) as couriers:
        one = alert(database)
        await couriers.rest()
    assert sender.targets[0].secrets == {"token": "hush"}
    assert "hush" not in repr(sender.targets[0])
    url = sender.sent[0].acknowledge_url
    assert url is not None
    prefix = "https://edge.example/acknowledge/"
    assert url.startswith(prefix)
    link = AcknowledgeLinks(keyring).read(url.removeprefix(prefix))
    assert link is not None
    assert (link.tenant_id, link.alert_id, link.integration_id) == ("acme", one, integration_id)
    assert url not in repr(sender.sent[0])


async def test_secrets_of_another_key_are_said_and_tried_again(database: Database) -> None:
    integration_id = receive(database)
    sealed = Keyring([new_key()]).seal(b"hush", secret_purpose("acme", integration_id, "token"))
    rows(
        database,
        "UPDATE integrations SET secrets = jsonb_build_object('token', %s::text)",
        base64.b64encode(sealed).decode(),
    )
    sender = PlayedSender()
    async with open_couriers(database, sender) as couriers:
        alert(database)
        await couriers.rest()
    [(outcome, error)] = rows(database, "SELECT outcome, error FROM delivery_attempts")
    assert outcome == "retry"
    assert "keys.json" in error
    assert sender.sent == []


async def test_an_unknown_type_is_dead_and_says_so(database: Database) -> None:
    receive(database, type="pigeon")
    async with open_couriers(database, PlayedSender()) as couriers:
        one = alert(database)
        await couriers.rest()
    assert states(database) == [(one, "OPEN", "DEAD", "refused")]
    [(error,)] = rows(database, "SELECT error FROM delivery_attempts")
    assert "pigeon" in error


@pytest.fixture
def own_server() -> Iterator[Database]:
    """A database of a server of its own, which a test may stop."""
    with PostgresServer() as server:
        trio.run(make_template, server)
        yield create_database(server, template=TEMPLATE, owner=roles.OWNER)


def test_while_postgres_is_away_an_answer_waits_to_be_written_down_and_nothing_is_sent_twice(
    own_server: Database,
) -> None:
    trio.run(_outlast_postgres, own_server)


async def _outlast_postgres(database: Database) -> None:
    receive(database)
    go_on = trio.Event()

    async def answer(_target: Target, _notice: Notice) -> Outcome:
        await go_on.wait()
        return DELIVERED

    sender = PlayedSender(answer)
    async with open_couriers(database, sender) as couriers:
        one = alert(database)
        await until(sender, 1)
        await trio.to_thread.run_sync(database.server.stop)
        go_on.set()
        await trio.sleep(0.5)  # Postgres is away for longer than one try to write it down
        database.server.start()
        await couriers.rest()
        two = alert(database)
        await couriers.rest()
    assert sender.told() == [("OPEN", one), ("OPEN", two)]
    with psycopg.connect(database.conninfo()) as connection:
        assert connection.execute("SELECT DISTINCT status, attempts FROM delivery_jobs").fetchall() == [
            ("COMPLETED", 1)
        ]


async def test_a_certificate_that_a_clock_in_doubt_refuses_waits_until_the_clock_is_right(database: Database) -> None:
    receive(database)
    expired = Outcome(Verdict.REFUSED, 0.01, error="tls: the certificate is refused: not yet valid", by_dates=True)
    sender, clock = PlayedSender(answering(expired, DELIVERED)), SetClock()
    clock.trusted = False
    async with open_couriers(database, sender, clock=clock) as couriers:
        one = alert(database)
        await couriers.rest()
        assert states(database) == [(one, "OPEN", "PENDING", "unreachable")]
        clock.trusted = True
        await couriers.pass_time(5.0)
        assert states(database) == [(one, "OPEN", "COMPLETED", None)]
        sender.answer = answering(expired)
        two = alert(database)
        await couriers.rest()
    assert states(database, [two]) == [(two, "OPEN", "DEAD", "refused")]
