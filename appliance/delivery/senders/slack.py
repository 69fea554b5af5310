"""``slack``: an incoming webhook of Slack, or of a server that takes the same messages (Mattermost, Rocket.Chat).

A message is a line of text and attachments, which all of them show. Slack takes one message a second of a webhook, and
answers 429 beyond it; a channel that was archived answers 410.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from appliance.delivery.notices.notice import Notice
from appliance.delivery.notices.text import ACKNOWLEDGE, LINK, and_more, cut, text_of
from appliance.delivery.outbox.job import JobEvent
from appliance.delivery.senders.incoming_webhook import IncomingWebhook, address
from appliance.severity import Severity

TITLE_CHARACTERS = 300
VALUE_CHARACTERS = 1000
OTHERS = 50
"""Further alerts that a message lists: some 10,000 characters of the 40,000 that Slack takes."""
_COLOURS = {
    Severity.CRITICAL: "#c62828",
    Severity.HIGH: "#e65100",
    Severity.MEDIUM: "#f9a825",
    Severity.LOW: "#1565c0",
    Severity.INFO: "#607d8b",
}
_ENDED = "#2e7d32"
_AT = re.compile(r"(?<!\w)@")


def escape(text: str) -> str:
    """Return a text in which nothing is markup: no link, no mention of a person or of everybody."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _AT.sub("@\N{ZERO WIDTH SPACE}", text)


def message(notice: Notice) -> dict[str, Any]:
    """Return a notice as a message of Slack."""
    text = text_of(notice)
    title = escape(cut(text.title, TITLE_CHARACTERS))
    ended = notice.event in {JobEvent.ACKNOWLEDGED, JobEvent.CLOSED}
    first = {
        "fallback": title,
        "color": _ENDED if ended else _COLOURS[notice.alert.severity],
        "title": LINK,
        "title_link": text.url,
        "fields": [
            {"title": label, "value": escape(cut(value, VALUE_CHARACTERS)), "short": len(value) < 40}
            for label, value in text.facts
        ],
        "text": "\n".join(_others(text.others, text.more)),
        "mrkdwn_in": [],
        "ts": int(notice.made_at.timestamp()),
    }
    attachments = [first]
    if text.acknowledge_url is not None:
        attachments.append({"fallback": ACKNOWLEDGE, "title": ACKNOWLEDGE, "title_link": text.acknowledge_url})
    return {"text": title, "mrkdwn": False, "attachments": attachments}


def _others(others: Sequence[tuple[str, str]], more: int) -> Iterator[str]:
    for line, url in others[:OTHERS]:
        yield f"<{url}|{escape(cut(line, TITLE_CHARACTERS)).replace('|', '/')}>"
    hidden = more + max(0, len(others) - OTHERS)
    if hidden > 0:
        yield and_more(hidden)


SENDER = IncomingWebhook(
    "slack",
    "Slack",
    "i-message-square",
    address(
        "Webhook address",
        "Of an incoming webhook. Whoever has it can post, so it is never shown again.",
        "https://hooks.slack.com/services/...",
    ),
    message,
)
