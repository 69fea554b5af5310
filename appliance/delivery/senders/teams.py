"""``teams``: a workflow of Microsoft Teams that posts what a webhook receives: an Adaptive Card.

Texts stand in runs of rich text, in which nothing is markup. A message may have 28 KB: further alerts are left out from
the end until it fits, and counted.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from appliance.delivery.notices.notice import Notice
from appliance.delivery.notices.text import ACKNOWLEDGE, LINK, NoticeText, and_more, cut, text_of
from appliance.delivery.outbox.job import JobEvent
from appliance.delivery.senders.incoming_webhook import IncomingWebhook, address
from appliance.severity import Severity

MAX_BYTES = 28 * 1024
TITLE_CHARACTERS = 300
VALUE_CHARACTERS = 600
"""So that a card without further alerts always fits, whatever its texts are."""
OTHERS = 50
_COLOURS = {Severity.CRITICAL: "Attention", Severity.HIGH: "Attention", Severity.MEDIUM: "Warning"}


def message(notice: Notice) -> bytes:
    """Return a notice as a message with a card, in JSON that is not too long."""
    text = text_of(notice)
    shown = min(len(text.others), OTHERS)
    while True:
        data = msgspec.json.encode(_message(notice, text, shown))
        if len(data) <= MAX_BYTES or shown == 0:
            return data
        shown -= 1


def _message(notice: Notice, text: NoticeText, shown: int) -> dict[str, Any]:
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "body": list(_body(notice, text, shown)),
        "actions": [{"type": "Action.OpenUrl", "title": title, "url": url} for title, url in _links(text)],
        "msteams": {"width": "Full"},
    }
    content_type = "application/vnd.microsoft.card.adaptive"
    return {"type": "message", "attachments": [{"contentType": content_type, "contentUrl": None, "content": card}]}


def _links(text: NoticeText) -> Iterator[tuple[str, str]]:
    yield LINK, text.url
    if text.acknowledge_url is not None:
        yield ACKNOWLEDGE, text.acknowledge_url


def _body(notice: Notice, text: NoticeText, shown: int) -> Iterator[dict[str, Any]]:
    ended = notice.event in {JobEvent.ACKNOWLEDGED, JobEvent.CLOSED}
    colour = "Good" if ended else _COLOURS.get(notice.alert.severity, "Accent")
    yield _paragraph(_run(cut(text.title, TITLE_CHARACTERS), size="Medium", weight="Bolder", color=colour))
    for label, value in text.facts:
        yield _paragraph(_run(f"{label}: ", weight="Bolder"), _run(cut(value, VALUE_CHARACTERS)))
    for line, _ in text.others[:shown]:
        yield _paragraph(_run(cut(line, TITLE_CHARACTERS)))
    hidden = max(text.more, 0) + len(text.others) - shown
    if hidden:
        yield _paragraph(_run(and_more(hidden)))


def _paragraph(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "RichTextBlock", "inlines": list(runs)}


def _run(text: str, **looks: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text, **looks}


SENDER = IncomingWebhook(
    "teams",
    "Microsoft Teams",
    "i-users",
    address(
        "Workflow address",
        'Of a workflow "When a Teams webhook request is received". Never shown again.',
        "https://...",
    ),
    message,
)
