"""A notice as a mail: text and a simple HTML alternative, threaded by alert. What it says is in ``text``."""

from collections.abc import Iterator, Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from html import escape

from appliance.delivery.notices.notice import Notice
from appliance.delivery.notices.text import ACKNOWLEDGE, LINK, NoticeText, and_more, cut, plain, text_of
from appliance.severity import Severity

SENDER_NAME = "Edge Appliance"
SUBJECT_CHARACTERS = 150
"""Of a subject at most; programs show some 70, and fold a header at 78."""


def mail(notice: Notice, sender: str, recipients: Sequence[str]) -> EmailMessage:
    """Return the mail from and to plain addresses. Every try of a notice has the same Message-ID."""
    text = text_of(notice)
    message = EmailMessage(policy=SMTP)
    message["Subject"] = cut(text.title, SUBJECT_CHARACTERS)
    message["From"] = Address(SENDER_NAME, addr_spec=sender)
    message["To"] = [Address(addr_spec=recipient) for recipient in recipients]
    message["Date"] = format_datetime(notice.made_at)
    for name, value in _thread(notice, sender.rpartition("@")[2]):
        message[name] = value
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "All"  # Exchange heeds this, not the standard's header
    if notice.alert.severity is Severity.CRITICAL:
        message["Importance"] = "high"
    message.set_content(_plain(text), cte="quoted-printable")
    message.add_alternative(_html(text), subtype="html", cte="quoted-printable")
    return message


def _thread(notice: Notice, domain: str) -> Iterator[tuple[str, str]]:
    """Yield the headers by which mail programs put the mails of one alert together.

    Each refers to an id that stands for the alert, and to the mail that told its opening, where that is known.
    """
    alert = f"<alert-{notice.alert.alert_id}.{notice.appliance}@{domain}>"
    opening = f"<{notice.opening_id}@{domain}>" if notice.opening_id not in (None, notice.message_id) else None
    yield "Message-ID", f"<{notice.message_id}@{domain}>"
    yield "In-Reply-To", opening or alert
    yield "References", f"{alert} {opening}" if opening else alert


def _plain(text: NoticeText) -> str:
    lines = [text.title, "", plain(text), "", f"{LINK}: {text.url}"]
    if text.acknowledge_url is not None:
        lines.append(f"{ACKNOWLEDGE}: {text.acknowledge_url}")
    return "\n".join(lines) + "\n"


def _html(text: NoticeText) -> str:
    """Return the same as HTML: no images, no styles from elsewhere, nothing that is not escaped."""
    rows = "\n".join(
        f'<tr><th align="left" valign="top">{escape(label)}</th><td>{escape(value)}</td></tr>'
        for label, value in text.facts
    )
    others = "\n".join(f"<li>{_link(url, line)}</li>" for line, url in text.others)
    if text.more > 0:
        others += f"\n<li>{escape(and_more(text.more))}</li>"
    links = [_link(text.url, LINK)]
    if text.acknowledge_url is not None:
        links.append(_link(text.acknowledge_url, ACKNOWLEDGE))
    return "\n".join(
        [
            f'<!DOCTYPE html><html><head><meta charset="utf-8"><title>{escape(text.title)}</title></head><body>',
            f"<h3>{escape(text.title)}</h3>",
            f'<table cellpadding="4">\n{rows}\n</table>',
            *([f"<ul>\n{others}\n</ul>"] if others else []),
            f"<p>{' &nbsp; '.join(links)}</p>",
            "</body></html>\n",
        ]
    )


def _link(url: str, label: str) -> str:
    return f'<a href="{escape(url)}">{escape(label)}</a>'
