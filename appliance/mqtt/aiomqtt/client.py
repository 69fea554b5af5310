"""aiomqtt's ``Client`` on top of our engine. See the package."""

import logging
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Literal, Self, overload

from mqtt5 import (
    ConnAckPacket,
    PubAckPacket,
    PubAckReasonCode,
    PubCompPacket,
    PubCompReasonCode,
    PublishPacket,
    PubRecPacket,
    PubRecReasonCode,
    PubRelPacket,
    PubRelReasonCode,
    QoS,
    SubAckPacket,
    TopicFilter,
    UnsubAckPacket,
    Will,
)

from appliance.mqtt import client as engine
from appliance.mqtt import errors
from appliance.mqtt.aiomqtt.exceptions import ConnectError, entry_error, require_success
from appliance.mqtt.aiomqtt.exchanges import ManualExchanges, Received
from appliance.mqtt.aiomqtt.logs import default_logger, structured
from appliance.mqtt.terms import MessageProperties, Terms
from appliance.mqtt.transport import Tcp, Tls, Transport, Unix

IDENTIFIER_BYTES = 6
"""Random bytes of an identifier that nobody gave: with the word before it, of a length that every broker takes."""


class Client:
    """A connection to a broker as an async context manager; see the package.

    It may be entered again after it was left, not while it is entered. Entering raises the OSError of a broker that is
    not reached, NegativeAckError of one that refuses us, ProtocolError of one that does not speak MQTT 5, and
    ConnectError of one that closes the connection or does not answer.

    Args:
        hostname: Name or IP address of the broker. Exactly one of it and ``unix_socket`` is given.
        port: TCP port of the broker.
        unix_socket: Path of the broker's Unix socket.
        identifier: Client id; made at random if None. The broker may assign another one.
        logger: Gets what is to be logged, instead of the logger ``aiomqtt``.
        ssl_context: Encrypt with TLS as it says.
        username: Name to sign in with.
        password: Password or other secret to sign in with.
        clean_start: Begin the first connection with a new session, instead of one that the broker has kept.
        session_expiry_interval: Seconds for which the broker keeps the session without a connection.
        reconnect: Connect again, after growing delays, when the connection is lost.
        will: Message that the broker publishes when the connection ends otherwise than by leaving normally.
        keep_alive: Seconds of silence after which the peer is asked for a sign of life; 0 never asks.
        authentication_method: Name of the method of extended authentication (MQTT 5 §4.12).
        authentication_data: Data of that method.
        request_problem_info: Let the broker send reason strings and user properties with any packet.
        request_response_info: Ask the broker for response information in CONNACK.
        receive_max: How many unacknowledged messages of QoS 1 and 2 the broker may send.
        topic_alias_max: How many topic aliases the broker may use.
        max_packet_size: Largest packet that is taken, in bytes; None is the protocol's limit.
        user_properties: Names and values to send with CONNECT.
    """

    def __init__(
        self,
        *,
        hostname: str | None = None,
        port: int = 1883,
        unix_socket: str | None = None,
        identifier: str | None = None,
        logger: logging.Logger | None = None,
        ssl_context: ssl.SSLContext | None = None,
        username: str | None = None,
        password: bytes | None = None,
        clean_start: bool = False,
        session_expiry_interval: int = 0,
        reconnect: bool = False,
        will: Will | None = None,
        keep_alive: int = 0,
        authentication_method: str | None = None,
        authentication_data: bytes | None = None,
        request_problem_info: bool = True,
        request_response_info: bool = False,
        receive_max: int = 65535,
        topic_alias_max: int = 0,
        max_packet_size: int | None = None,
        user_properties: list[tuple[str, str]] | None = None,
    ) -> None:
        self._endpoint = unix_socket if unix_socket is not None else f"{hostname}:{port}"
        self._exchanges = ManualExchanges(self._lost, bound=receive_max)
        self._engine = engine.Client(
            transport=_transport(hostname, port, unix_socket, ssl_context),
            identifier=identifier if identifier is not None else f"aiomqtt-{secrets.token_hex(IDENTIFIER_BYTES)}",
            username=username,
            password=password,
            clean_start=clean_start,
            session_expiry_interval=session_expiry_interval,
            reconnect=reconnect,
            will=will,
            keep_alive=keep_alive,
            authentication_method=authentication_method,
            authentication_data=authentication_data,
            request_problem_info=request_problem_info,
            request_response_info=request_response_info,
            receive_max=receive_max,
            topic_alias_max=topic_alias_max,
            max_packet_size=max_packet_size,
            user_properties=tuple(user_properties or ()),
            manual=self._exchanges,
            log=structured(logger or default_logger()),
        )

    async def __aenter__(self) -> Self:
        try:
            await self._engine.__aenter__()
        except errors.ConnectError as error:
            raise entry_error(error, self._endpoint) from error
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._engine.__aexit__(exc_type, exc, tb)

    @property
    def identifier(self) -> str:
        """Our client id; the broker may have assigned another one than was asked for."""
        return self._engine.identifier

    @property
    def packet_ids(self) -> Iterator[int]:
        """Packet ids for messages of QoS 1 and 2, one after the other, without those in use."""
        return self._exchanges.packet_ids

    async def connected(self) -> ConnAckPacket:
        """Wait for a connection; return the broker's CONNACK. Raises ConnectError when none will come."""
        try:
            return await self._exchanges.connected()
        except errors.DisconnectedError:
            raise self._lost() from None

    async def disconnected(self) -> None:
        """Wait until there is no connection."""
        await self._engine.disconnected()

    def messages(self) -> AsyncIterator[PublishPacket | PubRelPacket]:
        """Iterate over what the broker sends, in the order of arrival: messages, and the PUBRELs of those of QoS 2.

        Several iterators share it: each packet goes to one of them. Raises ConnectError when there is no connection,
        and RuntimeError when two tasks use one iterator at once.
        """
        return Messages(self._exchanges.received)

    @overload
    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: Literal[QoS.AT_MOST_ONCE] = ...,
        retain: bool = ...,
        message_expiry_interval: int | None = ...,
        content_type: str | None = ...,
        response_topic: str | None = ...,
        correlation_data: bytes | None = ...,
        user_properties: list[tuple[str, str]] | None = ...,
    ) -> None: ...

    @overload
    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: Literal[QoS.AT_LEAST_ONCE] = ...,
        packet_id: int,
        duplicate: bool = ...,
        retain: bool = ...,
        message_expiry_interval: int | None = ...,
        content_type: str | None = ...,
        response_topic: str | None = ...,
        correlation_data: bytes | None = ...,
        user_properties: list[tuple[str, str]] | None = ...,
    ) -> PubAckPacket: ...

    @overload
    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: Literal[QoS.EXACTLY_ONCE] = ...,
        packet_id: int,
        duplicate: bool = ...,
        retain: bool = ...,
        message_expiry_interval: int | None = ...,
        content_type: str | None = ...,
        response_topic: str | None = ...,
        correlation_data: bytes | None = ...,
        user_properties: list[tuple[str, str]] | None = ...,
    ) -> PubRecPacket: ...

    @overload
    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: QoS = ...,
        packet_id: int | None = ...,
        duplicate: bool = ...,
        retain: bool = ...,
        message_expiry_interval: int | None = ...,
        content_type: str | None = ...,
        response_topic: str | None = ...,
        correlation_data: bytes | None = ...,
        user_properties: list[tuple[str, str]] | None = ...,
    ) -> PubAckPacket | PubRecPacket | None: ...

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: QoS = QoS.AT_MOST_ONCE,
        packet_id: int | None = None,
        duplicate: bool = False,
        retain: bool = False,
        message_expiry_interval: int | None = None,
        content_type: str | None = None,
        response_topic: str | None = None,
        correlation_data: bytes | None = None,
        user_properties: list[tuple[str, str]] | None = None,
    ) -> PubAckPacket | PubRecPacket | None:
        """Send a message; return the broker's PUBACK or PUBREC, None for QoS 0.

        With QoS 1 and 2 it needs a ``packet_id``, waits while the broker takes no more, and then for the answer. With
        QoS 2, ``pubrel`` follows. ``duplicate`` goes on with the message of that id which an earlier call has sent and
        not finished, and sends a message only if there is none. ``message_expiry_interval`` is in seconds.

        Raises ConnectError, NegativeAckError, and ValueError for what cannot be sent and a packet id in use.
        """
        if packet_id is None and qos != QoS.AT_MOST_ONCE:
            raise ValueError(f"a message of QoS {qos.value} needs a packet id, such as `next(client.packet_ids)`")
        properties = MessageProperties(
            expiry_interval=message_expiry_interval,
            content_type=content_type,
            response_topic=response_topic,
            correlation_data=correlation_data,
            user_properties=tuple(user_properties or ()),
        )
        answer = await self._exchanges.publish(
            topic, payload, qos, properties, packet_id=packet_id, duplicate=duplicate, retain=retain
        )
        if answer is not None:
            require_success(answer)
        return answer

    async def puback(
        self,
        packet_id: int,
        *,
        reason_code: PubAckReasonCode = PubAckReasonCode.SUCCESS,
        reason_str: str | None = None,
        user_properties: list[tuple[str, str]] | None = None,
    ) -> None:
        """Acknowledge a message of QoS 1. Its PUBACK leaves once all earlier messages are acknowledged (§4.6)."""
        packet = PubAckPacket(
            packet_id, reason_code=reason_code, reason_str=reason_str, user_properties=user_properties
        )
        await self._exchanges.answer(packet)

    async def pubrec(
        self,
        packet_id: int,
        *,
        reason_code: PubRecReasonCode = PubRecReasonCode.SUCCESS,
        reason_str: str | None = None,
        user_properties: list[tuple[str, str]] | None = None,
    ) -> None:
        """Acknowledge a message of QoS 2, which is ours from then on; ``pubcomp`` follows. See ``puback``."""
        packet = PubRecPacket(
            packet_id, reason_code=reason_code, reason_str=reason_str, user_properties=user_properties
        )
        await self._exchanges.answer(packet)

    async def pubrel(
        self,
        packet_id: int,
        *,
        reason_code: PubRelReasonCode = PubRelReasonCode.SUCCESS,
        reason_str: str | None = None,
        user_properties: list[tuple[str, str]] | None = None,
    ) -> PubCompPacket:
        """Release a message of QoS 2 that the broker answered with PUBREC; return its PUBCOMP.

        Raises ConnectError, after which it may be called again, NegativeAckError, and ValueError for a message that
        was not answered yet.
        """
        packet = PubRelPacket(
            packet_id, reason_code=reason_code, reason_str=reason_str, user_properties=user_properties
        )
        answer = await self._exchanges.release(packet)
        require_success(answer)
        return answer

    async def pubcomp(
        self,
        packet_id: int,
        *,
        reason_code: PubCompReasonCode = PubCompReasonCode.SUCCESS,
        reason_str: str | None = None,
        user_properties: list[tuple[str, str]] | None = None,
    ) -> None:
        """Answer a PUBREL of the broker: its packet id is free from then on."""
        packet = PubCompPacket(
            packet_id, reason_code=reason_code, reason_str=reason_str, user_properties=user_properties
        )
        await self._exchanges.complete(packet)

    async def subscribe(
        self,
        *topic_filters: TopicFilter,
        subscription_id: int | None = None,
        user_properties: list[tuple[str, str]] | None = None,
    ) -> SubAckPacket:
        """Ask for all filters with one SUBSCRIBE; return the answer, one code a filter.

        Raises NegativeAckError when one is refused (the others hold), ConnectError, and ValueError for no filter, one
        that is invalid, or what the broker does not take.
        """
        terms = Terms(subscription_id, tuple(user_properties or ()))
        answer = await self._exchanges.while_connected(lambda subscribing: subscribing.subscribe(topic_filters, terms))
        require_success(answer)
        return answer

    async def unsubscribe(self, *patterns: str, user_properties: list[tuple[str, str]] | None = None) -> UnsubAckPacket:
        """End subscriptions with one UNSUBSCRIBE; return the answer, one code a pattern. Raises as ``subscribe``."""
        terms = Terms(user_properties=tuple(user_properties or ()))
        answer = await self._exchanges.while_connected(lambda subscribing: subscribing.unsubscribe(patterns, terms))
        require_success(answer)
        return answer

    def _lost(self) -> ConnectError:
        return ConnectError(self._endpoint)


class Messages:
    """Iterates over packets of a broker. Two tasks take one each; they do not share one, as with a generator."""

    def __init__(self, receive: Callable[[], Awaitable[Received]]) -> None:
        self._receive = receive
        self._busy = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Received:
        if self._busy:
            raise RuntimeError("two tasks iterate over the same messages: each needs `client.messages()` of its own")
        self._busy = True
        try:
            return await self._receive()
        finally:
            self._busy = False


def _transport(
    hostname: str | None, port: int, unix_socket: str | None, ssl_context: ssl.SSLContext | None
) -> Transport:
    if (hostname is None) == (unix_socket is None):
        raise ValueError("exactly one of hostname and unix_socket says where the broker is")
    if unix_socket is not None:
        if ssl_context is not None:
            raise ValueError("ssl_context needs a hostname, whose certificate it verifies")
        return Unix(unix_socket)
    assert hostname is not None  # noqa: S101 - for the type checker; compared above
    plain = Tcp(hostname, port)
    return plain if ssl_context is None else Tls(plain, ssl_context, hostname)
