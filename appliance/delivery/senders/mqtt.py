"""``mqtt``: the notice as JSON, published to a topic of a broker with QoS 1, by MQTT 5.

==========================================  ==========================================
PUBACK below 0x80                           delivered, also to a topic without readers
CONNACK or PUBACK that says not now         retry: busy, unavailable, quota, rate
another CONNACK or PUBACK from 0x80         refused: user, password, access, topic
MQTT 3.1.1 and older                        as the same answer in MQTT 5
no answer to a message that was sent        retry; it may have arrived
silence before, no MQTT, a closed stream    retry
certificate, TLS, address                   refused
no name, no connection                      unreached
==========================================  ==========================================

Beside the body (the webhook's) go ``message-id``, the same on every try, and ``hop-count``: one more than that of the
message that led to the notice, so that a loop through others ends at our own ingest.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import trio

from appliance.delivery.notices.body import body
from appliance.delivery.notices.notice import Notice
from appliance.delivery.outgoing.network import Destination, Network, NotAllowed, Unreached
from appliance.delivery.outgoing.tls import TlsRefused, client_context, encrypt
from appliance.delivery.outgoing.urls import canonical_host
from appliance.delivery.senders.fields import CA, checked
from appliance.delivery.senders.masking import Mask
from appliance.delivery.senders.mqtt_topic import PLACEHOLDERS, checked_topic, filled
from appliance.delivery.senders.sender import ANSWER_BYTES, REQUEST_CHARACTERS, Field, Outcome, Target, Verdict
from appliance.errors import Invalid
from appliance.mqtt.client import Client
from appliance.mqtt.errors import ConnectError, DisconnectedError, NegativeAckError
from appliance.mqtt.terms import MessageProperties
from appliance.mqtt.transport import OpenStream
from appliance.reading import HOP_COUNT

TLS_PORT, PLAIN_PORT = 8883, 1883
USUAL_PORTS = frozenset({TLS_PORT, 443})
DAY_SECONDS = 86_400
LONGEST_EXPIRY = 0xFFFF_FFFF
"""Seconds that MQTT can express."""
LARGEST_PACKET = 65_536
"""Bytes that a broker may send us at once; it has nothing to say but acknowledgements."""
LATER_CONNACKS = frozenset({0x80, 0x88, 0x89, 0x97, 0x9F})
"""Unspecified, unavailable, busy, quota exceeded, connection rate exceeded."""
LATER_PUBACKS = frozenset({0x80, 0x83, 0x97})
"""Unspecified, a reason of the broker's own, quota exceeded."""


@dataclass(slots=True)
class _Progress:
    """What is known of a try, whether or not it comes to its end."""

    begun: float
    address: str | None = None
    timings: dict[str, float] = field(default_factory=dict)
    published: bool = False
    refusal: NegativeAckError | None = None
    seconds: float | None = None
    """From the start to the PUBACK: whatever ends the connection afterwards changes nothing."""


@dataclass(frozen=True, slots=True)
class MqttSender:
    """The type ``mqtt``."""

    type: str = "mqtt"
    label: str = "MQTT"
    icon: str = "i-radio"
    may_merge: bool = True
    fields: Sequence[Field] = (
        Field("host", "Broker", "text", required=True, placeholder="broker.example", hint="It has to speak MQTT 5."),
        Field("port", "Port", "number", hint=f"{TLS_PORT} with TLS and {PLAIN_PORT} without, unless another is given."),
        Field(
            "tls", "TLS", "switch", default=True, hint="Off only for networks that the operator lists for deliveries."
        ),
        CA,
        Field("username", "User name", "text"),
        Field("password", "Password", "text", secret=True),
        Field(
            "topic",
            "Topic",
            "text",
            required=True,
            placeholder="alerts/{site_id}/{severity}",
            hint=f"May hold {', '.join(f'{{{name}}}' for name in PLACEHOLDERS)}.",
        ),
        Field("retain", "Retained", "switch", default=False, hint="The broker keeps the last notice of each topic."),
        Field(
            "expiry_seconds",
            "Expires after (seconds)",
            "number",
            default=DAY_SECONDS,
            hint="When the broker drops it for readers that are away; 0: never.",
        ),
    )

    def validate(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> dict[str, Any]:
        """Return the configuration in its canonical form. Raises Invalid."""
        found = checked(self.fields, config, secrets)
        found["host"] = canonical_host(found["host"].removeprefix("[").removesuffix("]"), "host")
        found.setdefault("port", TLS_PORT if found["tls"] else PLAIN_PORT)
        if not 1 <= found["port"] <= 65_535:
            raise Invalid("The port must be 1 to 65535.", "port")
        if not found["tls"] and "ca" in found:
            raise Invalid("A CA certificate is for TLS; switch TLS on, or leave it out.", "ca")
        if secrets.get("password") and "username" not in found:
            raise Invalid("A password needs a user name.", "username")
        found["topic"] = checked_topic(found["topic"], "topic")
        if not 0 <= found["expiry_seconds"] <= LONGEST_EXPIRY:
            raise Invalid(f"The expiry must be 0 to {LONGEST_EXPIRY} seconds.", "expiry_seconds")
        return found

    def destinations(self, config: Mapping[str, Any], secrets: Mapping[str, str]) -> Sequence[Destination]:  # noqa: ARG002
        """Return where the broker is."""
        return [_destination(config)]

    async def send(self, target: Target, notice: Notice, network: Network) -> Outcome:
        """Publish the notice once."""
        mask = Mask([target.secrets.get("password", ""), notice.acknowledge_url or ""])
        content = body(notice)
        progress = _Progress(trio.current_time())
        topic = target.config["topic"]
        answer: str | None = None
        error: str | None = None
        by_dates = False
        try:
            topic = filled(topic, notice)
            with trio.move_on_after(network.deadlines.total):
                await _publish(target, topic, content, notice, network, progress)
            verdict, answer, error = _answered(progress)
        except ConnectError as refusal:
            verdict, answer, error = _refused(refusal)
        except (NotAllowed, TlsRefused) as refusal:
            by_dates = isinstance(refusal, TlsRefused) and refusal.by_dates
            verdict, error = Verdict.REFUSED, str(refusal)
        except ValueError as fault:  # the topic, or a message that this broker does not take
            verdict, error = Verdict.REFUSED, f"message: {fault}"
        except Unreached as fault:
            verdict, error = Verdict.UNREACHED, str(fault)
        except DisconnectedError as fault:
            verdict, error = Verdict.RETRY, f"answer: {fault}"
        return Outcome(
            verdict,
            progress.seconds or trio.current_time() - progress.begun,
            may_have_arrived=answer is None and progress.published,
            answer=mask.bytes((answer or "").encode())[:ANSWER_BYTES],
            error=mask.text(error) if error else None,
            address=progress.address,
            request=mask.text(_shown(target.config, topic, content, notice))[:REQUEST_CHARACTERS],
            timings=progress.timings,
            by_dates=by_dates,
        )


async def _publish(
    target: Target, topic: str, content: bytes, notice: Notice, network: Network, progress: _Progress
) -> None:
    """Connect, publish, and return once the broker has taken it. Raises what can go wrong."""
    config, deadlines = target.config, network.deadlines
    context = client_context(config.get("ca"), ()) if config["tls"] else None
    dialled = await network.dial(_destination(config))
    progress.address = dialled.address
    progress.timings |= {"name": dialled.name_seconds, "connect": dialled.connect_seconds}
    stream: trio.abc.Stream = dialled.stream
    begun = trio.current_time()
    if context is not None:
        stream = await encrypt(dialled.stream, context, config["host"], deadlines.tls)
        progress.timings["tls"] = trio.current_time() - begun
        begun = trio.current_time()
    properties = MessageProperties(
        config["expiry_seconds"] or None,
        "application/json",
        user_properties=(("message-id", str(notice.message_id)), (HOP_COUNT, str(notice.hop_count))),
    )
    async with Client(
        transport=OpenStream(stream, f"{config['host']}:{config['port']}"),
        username=config.get("username"),
        password=target.secrets.get("password"),
        clean_start=True,
        receive_max=1,
        max_packet_size=LARGEST_PACKET,
        reconnect=False,
        connect_timeout=deadlines.read,
    ) as client:
        progress.published = True
        try:
            with trio.move_on_after(deadlines.write + deadlines.read) as waiting:
                await client.publish(topic, content, retain=config["retain"], properties=properties)
        except ValueError:
            progress.published = False
            raise
        except NegativeAckError as refusal:
            progress.refusal = refusal
        if waiting.cancelled_caught:
            return
        progress.seconds = trio.current_time() - progress.begun
        progress.timings["answer"] = trio.current_time() - begun


def _answered(progress: _Progress) -> tuple[Verdict, str | None, str | None]:
    """Return what a try came to that ended without an error: a PUBACK, or no time left."""
    if progress.refusal is not None:
        return _refused(progress.refusal)
    if progress.seconds is not None:
        return Verdict.DELIVERED, "PUBACK", None
    if progress.address is None:
        return Verdict.UNREACHED, None, "timeout: no connection within the time for a try"
    awaited = "PUBACK" if progress.published else "CONNACK"
    return Verdict.RETRY, None, f"timeout: no {awaited} within the time for a try"


def _refused(refusal: ConnectError | NegativeAckError) -> tuple[Verdict, str | None, str]:
    """Return what the broker's answer means, the answer, and the error in words."""
    packet, later = ("CONNACK", LATER_CONNACKS) if isinstance(refusal, ConnectError) else ("PUBACK", LATER_PUBACKS)
    if refusal.reason_code is None:  # silence, or nobody who speaks MQTT: the client says so
        return Verdict.RETRY, None, f"answer: {refusal}"
    code, name = refusal.reason_code.value, refusal.reason_code.name.lower().replace("_", " ")
    return Verdict.RETRY if code in later else Verdict.REFUSED, f"{packet} 0x{code:02x} {name}", f"reply: {refusal}"


def _destination(config: Mapping[str, Any]) -> Destination:
    return Destination(config["host"], config["port"], USUAL_PORTS, encrypted=config["tls"])


def _shown(config: Mapping[str, Any], topic: str, content: bytes, notice: Notice) -> str:
    """Return the message as people see it: topic, properties, body."""
    lines = [
        f"PUBLISH {topic}",
        f"QoS: 1, retain: {'yes' if config['retain'] else 'no'}",
        f"message-expiry-interval: {config['expiry_seconds'] or 'none'}",
        "content-type: application/json",
        f"message-id: {notice.message_id}",
        f"{HOP_COUNT}: {notice.hop_count}",
    ]
    return "\n".join([*lines, "", content.decode("utf-8", "replace")])


SENDER = MqttSender()
