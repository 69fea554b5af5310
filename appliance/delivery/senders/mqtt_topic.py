"""Topics with placeholders: ``alerts/{site_id}/{severity}`` becomes the topic of a notice, one level a value at most.

A topic that the appliance itself listens to is refused, whatever its placeholders stand for: a notice must not come
back as a reading.
"""

import re
from collections.abc import Callable, Mapping, Sequence

from appliance.delivery.notices.notice import Notice
from appliance.errors import Invalid
from appliance.mqtt import topics

LISTENED_TO: Mapping[str, str] = {
    "tenant/+/device/+/+": "what devices send",
    "appliance/peers": "what appliances tell one another",
    "appliance/probe": "the appliance's probe of its broker",
}
"""Topic filters of the appliance's own subscriptions, and what they are for. A test holds them to the real ones."""

PLACEHOLDERS: Mapping[str, Callable[[Notice], object]] = {
    "alert_id": lambda notice: notice.alert.alert_id,
    "alert_type": lambda notice: notice.alert.alert_type,
    "device_id": lambda notice: notice.alert.device_id,
    "event": lambda notice: notice.event,
    "severity": lambda notice: notice.alert.severity,
    "site_id": lambda notice: notice.alert.site_id,
    "tenant_id": lambda notice: notice.alert.tenant_id,
}
NOTHING = "-"
"""In place of a device or a site that an alert does not have."""
_PLACEHOLDER = re.compile(r"\{([a-z_]*)\}")
_NOT_IN_A_LEVEL = re.compile(r"[/+#\0]")


def checked_topic(template: str, field: str) -> str:
    """Return the template. Raises Invalid, which names ``field``, unless every topic that it can become is fine."""
    names = _PLACEHOLDER.findall(template)
    unknown = next((name for name in names if name not in PLACEHOLDERS), None)
    if unknown is not None or re.search(r"[{}]", _PLACEHOLDER.sub("", template)):
        allowed = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise Invalid(f"The topic holds a placeholder that is not known; there are {allowed}.", field)
    mistake = topics.name_mistake(_PLACEHOLDER.sub("x", template))
    if mistake is not None:
        raise Invalid(f"{mistake[0].upper()}{mistake[1:]}.", field)
    if template.startswith("$"):
        raise Invalid("A topic that starts with $ belongs to the broker.", field)
    for listened, purpose in LISTENED_TO.items():
        if _can_match(listened.split("/"), template.split("/")):
            raise Invalid(f"The appliance itself listens to such a topic, for {purpose} ({listened}).", field)
    return template


def filled(template: str, notice: Notice) -> str:
    """Return the topic of a notice. Raises ValueError when it is none, such as one that has grown too long."""
    topic = _PLACEHOLDER.sub(lambda found: _level(PLACEHOLDERS[found[1]](notice)), template)
    topic = re.sub(r"\A\$", "_", topic)
    mistake = topics.name_mistake(topic)
    if mistake is not None:
        raise ValueError(mistake)
    if any(topics.filter_matches(listened, topic) for listened in LISTENED_TO):
        raise ValueError("the appliance itself listens to the topic")
    return topic


def _level(value: object) -> str:
    return NOTHING if value is None or value == "" else _NOT_IN_A_LEVEL.sub("_", str(value))


def _can_match(wanted: Sequence[str], template: Sequence[str]) -> bool:
    """Return whether some value of the placeholders makes a topic that the filter takes. They never hold a ``/``."""
    return len(wanted) == len(template) and all(
        want == "+" or re.fullmatch(".*".join(re.escape(part) for part in _PLACEHOLDER.split(level)[::2]), want)
        for want, level in zip(wanted, template, strict=True)
    )
