"""The topics of devices, and the ids in them, as pure functions.

Enters: text as received. Leaves: a ``DeviceTopic``, a ``Refusal`` whose detail says how to correct it, or a boolean.
Never: I/O, or a decision about who may publish.
"""

import difflib
import re

import msgspec

from appliance.mqtt.topics import shown
from appliance.reading import Kind, Reason, Refusal

MAX_BYTES = 256
"""Longest device topic in UTF-8 bytes; the longest valid one has 154, so any longer one is a mistake."""

MAX_LEVELS = 8
"""Most levels of a device topic; five are telemetry, the rest leaves room for ``down/...``."""

MAX_ID = 64
"""Longest tenant or device id in characters."""

SHAPE = "tenant/{tenant_id}/device/{device_id}/telemetry"

_ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
_KINDS = {kind.value: kind for kind in Kind}
_DEVICE_TOPIC = re.compile(rf"tenant/({_ID})/device/({_ID})/({'|'.join(_KINDS)})", re.ASCII)
_IDENTIFIER = re.compile(_ID, re.ASCII)
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)


class DeviceTopic(msgspec.Struct, frozen=True, gc=False):
    """The sender of a message, and its kind."""

    tenant_id: str
    device_id: str
    kind: Kind


def parse(topic: str) -> DeviceTopic | Refusal:
    """Return the parts of a device topic, or ``BAD_TOPIC_FORMAT`` with the wrong segment and its correction."""
    match = _DEVICE_TOPIC.fullmatch(topic)
    if match is None:
        return Refusal(Reason.BAD_TOPIC_FORMAT, _mistake(topic))
    tenant_id, device_id, kind = match.groups()
    return DeviceTopic(tenant_id, device_id, _KINDS[kind])


def valid_id(text: str) -> bool:
    """Return whether the text may be a tenant or device id: 1-64 of ``A-Za-z0-9._-``, not starting with ``.``."""
    return _IDENTIFIER.fullmatch(text) is not None


def _mistake(topic: str) -> str:
    """Return why this is no device topic: the first thing wrong from the left, and what it should be."""
    size = len(topic.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        return f"the topic is {size} bytes long, at most {MAX_BYTES} are allowed"
    if topic.startswith("/"):
        return f"the topic starts with `/`: leave it out, should be `{SHAPE}`"
    levels = topic.split("/")
    if len(levels) > MAX_LEVELS:
        return f"the topic has {len(levels)} levels, at most {MAX_LEVELS} are allowed: should be `{SHAPE}`"
    return (
        _wrong_word(levels, 0, "tenant")
        or _wrong_id(levels, 1, "tenant")
        or _wrong_word(levels, 2, "device")
        or _wrong_id(levels, 3, "device")
        or _wrong_kind(levels)
    )


def _wrong_word(levels: list[str], index: int, word: str) -> str | None:
    if len(levels) <= index:
        return f"the topic ends after {shown('/'.join(levels))}: should be `{SHAPE}`"
    if levels[index] == word:
        return None
    before = "/".join(levels[:index])
    lead = f"{before}/" if before else ""
    return f"publishes to {shown(f'{lead}{levels[index]}/...')}, should be {shown(f'{lead}{word}/...')}"


def _wrong_id(levels: list[str], index: int, noun: str) -> str | None:
    if len(levels) <= index or not levels[index]:
        return f"the {noun} id is missing: should be `{SHAPE}`"
    text = levels[index]
    if valid_id(text):
        return None
    if ":" in text:
        return f"the {noun} id {shown(text)} has `:`: write a MAC address with `-` or without separators"
    strange = _NOT_IN_ID.search(text)
    if strange is not None:
        return f"the {noun} id {shown(text)} has {shown(strange.group())}: only A-Z a-z 0-9 . _ - are allowed"
    if text.startswith("."):
        return f"the {noun} id {shown(text)} starts with `.`: let it start with a letter, digit, `_` or `-`"
    return f"the {noun} id has {len(text)} characters, at most {MAX_ID} are allowed"


def _wrong_kind(levels: list[str]) -> str:
    kinds = ", ".join(_KINDS)
    if len(levels) < 5 or not levels[4]:
        return f"the kind after the device id is missing: one of {kinds}"
    if levels[4] == "down":
        return "`down/...` is reserved for what the appliance sends to the device: publish to `.../telemetry`"
    if levels[4] not in _KINDS:
        near = difflib.get_close_matches(levels[4].lower(), _KINDS, n=1)
        hint = f"should be `{near[0]}`" if near else f"should be one of {kinds}"
        return f"the kind {shown(levels[4])} is not known: {hint}"
    extra = "/".join(levels[5:])
    return f"{shown(f'/{extra}')} after the kind is too much: the topic ends with `{levels[4]}`"
