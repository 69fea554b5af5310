"""Topic names and topic filters, as pure functions (MQTT 5 §4.7).

Enters: text. Leaves: what is wrong with it, or a boolean. Never: I/O, or a decision about who may publish.
"""

import re

ENCODED_LIMIT = 65535
"""Longest UTF-8 string MQTT can carry, in bytes (MQTT 5 §1.5.4)."""

_LAST_TWO = "".join(chr(plane << 16 | last) for plane in range(17) for last in (0xFFFE, 0xFFFF))
# Control characters and noncharacters should not be sent (MQTT 5 §1.5.4); Mosquitto takes them for malformed.
_NOT_TAKEN = re.compile(f"[\x01-\x1f\x7f-\x9f\ufdd0-\ufdef{_LAST_TWO}]")
_SHOWN = 40


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
