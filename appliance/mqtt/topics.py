"""Topic grammar: device topics, topic names and topic filters, as pure functions.

Enters: text as received. Leaves: a ``DeviceTopic``, a ``Refusal`` whose detail says how to correct it, or a boolean.
Never: I/O, or a decision about who may publish.
"""

import difflib
import re

import msgspec

from appliance.reading import Kind, Reason, Refusal

MAX_BYTES = 256
"""Longest device topic in UTF-8 bytes; the longest valid one has 154, so any longer one is a mistake."""

MAX_LEVELS = 8
"""Most levels of a device topic; five are telemetry, the rest leaves room for ``down/...``."""

MAX_ID = 64
"""Longest tenant or device id in characters."""

ENCODED_LIMIT = 65535
"""Longest UTF-8 string MQTT can carry, in bytes (MQTT 5 §1.5.4)."""

SHAPE = "tenant/{tenant_id}/device/{device_id}/telemetry"

_ID = r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}"
_KINDS = {kind.value: kind for kind in Kind}
_DEVICE_TOPIC = re.compile(rf"tenant/({_ID})/device/({_ID})/({'|'.join(_KINDS)})", re.ASCII)
_IDENTIFIER = re.compile(_ID, re.ASCII)
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)
_LAST_TWO = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
# Control characters and noncharacters should not be sent (MQTT 5 §1.5.4); Mosquitto takes them for malformed.
_NOT_TAKEN = re.compile(f"[\x01-\x1f\x7f-\x9f\ufdd0-\ufdef{_LAST_TWO}]")
_SHOWN = 40


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


def filter_matches(topic_filter: str, topic: str) -> bool:
    """Return whether a valid filter takes the topic (MQTT 5 §4.7).

    Of a shared subscription, ``$share/{group}/{filter}``, it is the filter behind the group that counts.
    """
    if topic_filter.startswith("$share/"):
        topic_filter = topic_filter.split("/", 2)[2]
    # [MQTT-4.7.2-1]: a filter that starts with a wildcard takes no topic that starts with $.
    if topic.startswith("$") and topic_filter[:1] in {"+", "#"}:
        return False
    wanted = topic_filter.split("/")
    levels = topic.split("/")
    if wanted[-1] == "#":  # takes the parent level as well (§4.7.1.2)
        wanted.pop()
        if len(levels) < len(wanted):
            return False
        levels = levels[: len(wanted)]
    return len(wanted) == len(levels) and all(want in ("+", level) for want, level in zip(wanted, levels, strict=True))


def filter_mistake(topic_filter: str) -> str | None:
    """Return what is wrong with a topic filter, or None when a broker must take it (MQTT 5 §4.7.1, §4.8.2)."""
    mistake = _text_mistake(topic_filter, "filter")
    if mistake is not None:
        return mistake
    if topic_filter.startswith("$share/"):
        parts = topic_filter.split("/", 2)
        if len(parts) < 3 or not parts[1] or not parts[2]:
            return "a shared subscription is `$share/{group}/{filter}`"
        if "+" in parts[1] or "#" in parts[1]:
            return "the group of a shared subscription holds no `+` or `#`"
        topic_filter = parts[2]
    levels = topic_filter.split("/")
    for number, level in enumerate(levels, start=1):
        if "#" in level and (level != "#" or number != len(levels)):
            return f"`#` must be the whole last level, level {number} is {shown(level)}"
        if "+" in level and level != "+":
            return f"`+` must be a whole level, level {number} is {shown(level)}"
    return None


def name_mistake(topic: str) -> str | None:
    """Return what is wrong with a topic to publish to, or None when it is a topic name (MQTT 5 §4.7.1, §4.7.3)."""
    mistake = _text_mistake(topic, "topic")
    if mistake is None and ("+" in topic or "#" in topic):
        return "a topic to publish to holds no `+` or `#`"
    return mistake


def shown(text: str) -> str:
    """Return the text between back-ticks, shortened, with nothing in it that could disturb a terminal or a log."""
    cut = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"`{''.join(c if c.isprintable() and c != '`' else ascii(c)[1:-1] for c in cut)}`"


def _text_mistake(text: str, noun: str) -> str | None:
    if not text:
        return f"the {noun} is empty"
    if "\0" in text:
        return f"the {noun} holds a NUL character"
    if not text.isprintable():
        strange = _NOT_TAKEN.search(text)
        if strange is not None:
            return f"the {noun} holds {shown(strange.group())}, which brokers hang up on"
    try:
        length = len(text.encode())
    except UnicodeEncodeError:
        return f"the {noun} is not valid Unicode"
    return f"the {noun} is longer than {ENCODED_LIMIT} bytes" if length > ENCODED_LIMIT else None


def _mistake(topic: str) -> str:
    """Return why this is no device topic: the first thing wrong from the left, and what it should be."""
    size = len(topic.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        return f"the topic is {size} bytes long, at most {MAX_BYTES} are taken"
    if topic.startswith("/"):
        return f"the topic starts with `/`: leave it out, should be `{SHAPE}`"
    levels = topic.split("/")
    if len(levels) > MAX_LEVELS:
        return f"the topic has {len(levels)} levels, at most {MAX_LEVELS} are taken: should be `{SHAPE}`"
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
        return f"the {noun} id {shown(text)} has {shown(strange.group())}: only A-Z a-z 0-9 . _ - are taken"
    if text.startswith("."):
        return f"the {noun} id {shown(text)} starts with `.`: let it start with a letter, digit, `_` or `-`"
    return f"the {noun} id has {len(text)} characters, at most {MAX_ID} are taken"


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
