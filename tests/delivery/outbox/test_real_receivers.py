"""An alert goes through the outbox to a real mail server and a real broker."""

import json
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import trio

from appliance.delivery.notices.notice import Notice
from appliance.delivery.senders.sender import Outcome, Sender, Target
from appliance.delivery.senders.table import SENDERS
from appliance.mqtt.client import Client
from tests.delivery.senders.network import LOCAL
from tests.support.alerts import add_alert
from tests.support.couriers import NOON, PlayedSender, acknowledge, close, open_couriers, rows, states
from tests.support.mail_sink import MailSink
from tests.support.mosquitto_server import MosquittoServer
from tests.support.postgres_server import Database
from tests.support.routes import add_integration, add_route

STEPS = ["OPEN", "ACKNOWLEDGED", "CLOSED"]


def _real(sender: Sender) -> PlayedSender:
    """Return a sender that notes what it is given, and sends it for real."""

    async def send(target: Target, notice: Notice) -> Outcome:
        return await sender.send(target, notice, LOCAL)

    return PlayedSender(send, type=sender.type)


async def _alert_from_open_to_end(database: Database, sender: PlayedSender) -> int:
    async with open_couriers(database, sender) as couriers:
        alert_id = add_alert(database, created_at=datetime.fromtimestamp(NOON, UTC))
        await couriers.rest()
        acknowledge(database, alert_id, NOON)
        await couriers.rest()
        close(database, alert_id, NOON)
        await couriers.rest()
    return alert_id


async def test_the_mails_of_an_alert_are_one_thread(database: Database) -> None:
    with MailSink(answers={"gone@acme.example": "550 5.1.1 unknown"}) as sink:
        config = {
            "recipients": ["ingrid@acme.example", "gone@acme.example"],
            "server": "own",
            "from": "alerts@acme.example",
            "host": "127.0.0.1",
            "port": sink.port,
            "tls": "none",
        }
        integration_id = add_integration(
            database, type="email", config=json.dumps(SENDERS["email"].validate(config, {}))
        )
        add_route(database, integration_id, deliver_on=STEPS)
        alert_id = await _alert_from_open_to_end(database, _real(SENDERS["email"]))
    mails = [message_from_bytes(mail.content, _class=EmailMessage, policy=default) for mail in sink.mails]
    ids = [str(row[0]) for row in rows(database, "SELECT message_id FROM delivery_jobs ORDER BY job_id")]
    assert [mail["Message-ID"] for mail in mails] == [f"<{message_id}@acme.example>" for message_id in ids]
    assert [mail["In-Reply-To"] for mail in mails[1:]] == [mails[0]["Message-ID"]] * 2
    assert [mail["Subject"].partition(":")[0] for mail in mails] == ["High", "Acknowledged", "Closed"]
    assert [row[2] for row in states(database)] == ["COMPLETED"] * 3
    attempts = rows(database, "SELECT outcome, http_status, answer, error FROM delivery_attempts")
    refused = "recipients: 1 of 2 were refused: gone@acme.example (550 5.1.1 unknown)"
    assert attempts == [("delivered", 250, "250 Message accepted", refused)] * 3
    assert f"/alerts/{alert_id}" in mails[0].get_body(("plain",)).get_content()  # type: ignore[union-attr]


async def test_the_steps_of_an_alert_are_published_in_order(database: Database, mosquitto: MosquittoServer) -> None:
    config = {"host": mosquitto.host, "port": mosquitto.port, "tls": False, "topic": "told/{alert_id}/{event}"}
    integration_id = add_integration(database, type="mqtt", config=json.dumps(SENDERS["mqtt"].validate(config, {})))
    add_route(database, integration_id, deliver_on=STEPS)
    async with Client(mosquitto.host, mosquitto.port, clean_start=True) as reader:
        await reader.subscribe("told/#")
        alert_id = await _alert_from_open_to_end(database, _real(SENDERS["mqtt"]))
        messages = aiter(reader.messages())
        with trio.fail_after(20):
            packets = [(await anext(messages)).packet for _ in STEPS]
    assert [packet.topic for packet in packets] == [f"told/{alert_id}/{step}" for step in STEPS]
    ids = [str(row[0]) for row in rows(database, "SELECT message_id FROM delivery_jobs ORDER BY job_id")]
    assert [dict(packet.user_properties)["message-id"] for packet in packets] == ids
    types = [json.loads(bytes(packet.payload))["type"] for packet in packets]
    assert types == ["alert.opened", "alert.acknowledged", "alert.closed"]
    assert [row[2] for row in states(database)] == ["COMPLETED"] * 3
