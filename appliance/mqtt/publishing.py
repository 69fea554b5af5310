"""Sends messages in the order of the calls, as many at once as the broker takes, and waits for their answers.

Enters: topics and payloads. Leaves: packets in the session's queue, one error a call. Never: a message that is
acknowledged twice, or one of QoS 0 that waits for others: only QoS 1 and 2 are under flow control (MQTT 5 §4.9).
"""

from collections.abc import Iterable

import trio
from mqtt5 import QoS

from appliance.mqtt import topics
from appliance.mqtt.connection import Connection
from appliance.mqtt.errors import NegativeAckError, SessionLostError, counted
from appliance.mqtt.receipts import Receipt
from appliance.mqtt.states import State
from appliance.mqtt.terms import MessageProperties

GROUP = 512
"""Messages that are written to the socket at once: bounds memory, and lets other tasks run."""


class Publishing:
    """The publishing side of a client. ``published`` counts messages."""

    def __init__(self, connection: Connection) -> None:
        self.published = 0
        self._connection = connection
        self._turns = (trio.Lock(), trio.Lock())  # publishers of QoS 0, and of 1 and 2, in the order of their calls

    async def send(
        self, messages: Iterable[tuple[str, bytes]], qos: QoS, properties: MessageProperties, *, retain: bool
    ) -> None:
        """Send messages and wait for all answers; see ``Client.publish_many``."""
        receipt = Receipt()
        async with self._turns[qos != QoS.AT_MOST_ONCE]:
            await self._hand_over(messages, qos, retain, properties, receipt)
        receipt.close()
        await self._connection.flush()
        await receipt.done.wait()
        if receipt.open:
            raise self._connection.board.lost()
        if receipt.in_doubt:
            raise SessionLostError(receipt.in_doubt)
        if receipt.reason_code is not None:
            raise NegativeAckError(counted(receipt.refused), receipt.reason_code, receipt.reason, receipt.refused)

    async def _hand_over(
        self,
        messages: Iterable[tuple[str, bytes]],
        qos: QoS,
        retain: bool,
        properties: MessageProperties,
        receipt: Receipt,
    ) -> None:
        room = 0
        connection = self._connection
        try:
            for topic, payload in messages:
                if not room:
                    room = await self._room(qos)
                mistake = topics.name_mistake(topic)
                if mistake is not None:
                    raise ValueError(mistake)
                packet_id = connection.session.publish(topic, payload, qos, retain=retain, properties=properties)
                if packet_id:
                    connection.receipts.add(packet_id, receipt)
                self.published += 1
                room -= 1
        finally:
            connection.wake()

    async def _room(self, qos: QoS) -> int:
        """Send what is queued, then wait until something may be published; return how many messages."""
        connection = self._connection
        connection.board.check_open()
        await connection.flush()
        while True:
            connection.board.check_open()
            if connection.session.state is State.CONNECTED:
                room = GROUP if qos == QoS.AT_MOST_ONCE else connection.session.room
                if room > 0:
                    return min(room, GROUP)
            await connection.progress.park()
