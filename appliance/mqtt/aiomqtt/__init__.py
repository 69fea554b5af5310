"""An MQTT 5 client on Trio with the interface of aiomqtt 3: a program changes its import and its event loop.

    async with Client(hostname="localhost") as client:
        await client.subscribe(TopicFilter("ducks/#", max_qos=QoS.AT_LEAST_ONCE))
        async for message in client.messages():
            print(message.payload)
            if message.qos == QoS.AT_LEAST_ONCE:
                await client.puback(message.packet_id)

Enters: calls as of aiomqtt. Leaves: packets of mqtt5, and aiomqtt's exceptions. Never: waiting for a connection, beside
``connected``: what needs one raises ConnectError. What differs from aiomqtt, and why: docs/mqtt-client.md.
"""

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
    RetainHandling,
    SubAckPacket,
    SubAckReasonCode,
    TopicFilter,
    UnsubAckPacket,
    UnsubAckReasonCode,
    Will,
)

from appliance.mqtt.aiomqtt.client import Client
from appliance.mqtt.aiomqtt.exceptions import ConnectError, NegativeAckError, ProtocolError

__version__ = "3.0.0a1"
"""The version of the interface."""

__all__ = [
    "Client",
    "ConnAckPacket",
    "ConnectError",
    "NegativeAckError",
    "ProtocolError",
    "PubAckPacket",
    "PubAckReasonCode",
    "PubCompPacket",
    "PubCompReasonCode",
    "PubRecPacket",
    "PubRecReasonCode",
    "PubRelPacket",
    "PubRelReasonCode",
    "PublishPacket",
    "QoS",
    "RetainHandling",
    "SubAckPacket",
    "SubAckReasonCode",
    "TopicFilter",
    "UnsubAckPacket",
    "UnsubAckReasonCode",
    "Will",
    "__version__",
]
