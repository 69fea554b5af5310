"""Asks the broker for subscriptions and their ends, each call with an answer of its own.

Enters: filters, patterns. Leaves: SUBACK and UNSUBACK packets. Never: an answer to somebody else's request, or a
request that goes on after its caller has given up (see the table in ``subscriptions``).
"""

from collections.abc import Sequence

import trio
from mqtt5 import SubAckPacket, TopicFilter, UnsubAckPacket

from appliance.mqtt import topics
from appliance.mqtt.connection import Connection
from appliance.mqtt.subscriptions import Request
from appliance.mqtt.terms import NO_TERMS, Terms


class Subscribing:
    """The subscribing side of a client."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def subscribe(self, filters: Sequence[TopicFilter], terms: Terms = NO_TERMS) -> SubAckPacket:
        """Ask for filters with one SUBSCRIBE; return the answer, one code a filter, refusals included.

        Raises ValueError for a filter that is invalid, none at all, or what the broker does not take, and
        DisconnectedError.
        """
        if not filters:
            raise ValueError("a SUBSCRIBE needs at least one filter")  # [MQTT-3.8.3-2]
        for entry in filters:
            mistake = topics.filter_mistake(entry.pattern)
            if mistake is not None:
                raise ValueError(mistake)
        answer = await self._asked(Request([entry.pattern for entry in filters], filters, terms))
        assert isinstance(answer, SubAckPacket)  # noqa: S101 - the session matches kinds
        return answer

    async def unsubscribe(self, patterns: Sequence[str], terms: Terms = NO_TERMS) -> UnsubAckPacket:
        """End subscriptions with one UNSUBSCRIBE; return and raise as ``subscribe``."""
        if not patterns:
            raise ValueError("an UNSUBSCRIBE needs at least one pattern")  # [MQTT-3.10.3-2]
        answer = await self._asked(Request(patterns, terms=terms))
        assert isinstance(answer, UnsubAckPacket)  # noqa: S101 - the session matches kinds
        return answer

    async def _asked(self, request: Request) -> SubAckPacket | UnsubAckPacket:
        """Return the broker's answer to this request, whatever others ask at the same time."""
        await trio.lowlevel.checkpoint()
        self._connection.board.check_open()
        self._connection.ask(request)
        try:
            await request.done.wait()
        except trio.Cancelled:
            if request.answer is None:
                self._connection.abandon(request)
                raise
            # Answered after it was cancelled, before we ran: the call is complete, and the next checkpoint raises.
        except BaseException:
            self._connection.abandon(request)
            raise
        if request.objection is not None:
            raise request.objection
        if request.answer is None:
            raise self._connection.board.lost()
        return request.answer
