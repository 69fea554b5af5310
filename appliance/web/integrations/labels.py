"""Integrations in words: where they lead, how they are, how a sample went. Pure functions."""

import re
from dataclasses import dataclass
from datetime import datetime, tzinfo
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from appliance.delivery.integrations.counts import Breaker, Deliveries
from appliance.delivery.integrations.integration import Integration
from appliance.delivery.integrations.store import KnownIntegration
from appliance.delivery.senders.sender import Outcome, Sender, Verdict
from appliance.web.page import formats

STEPS = (("name", "Name"), ("connect", "connect"), ("tls", "TLS"))
"""The steps of a try before the answer."""
IN_STEP = 2.0
"""Seconds: a receiver tells its clock in whole ones."""
_LINE = re.compile(
    r";? ?(?:use TLS, or )?to allow it, an operator sets \[delivery\] (allow_\w+ = \[.*?\]) in appliance\.toml\.?"
)
_CODE = re.compile(r"^[a-z]+: ")


@dataclass(frozen=True, slots=True)
class Health:
    """How an integration is. ``kind`` is of a badge; a normal state has a glyph instead."""

    text: str
    sub: str = ""
    kind: str = ""
    glyph: str = ""

    @property
    def failing(self) -> bool:
        """Return whether it needs somebody."""
        return self.kind == "crit"


def where(integration: Integration, sender: Sender | None) -> str:
    """Return the type, and where it leads as far as that is no secret: ``MQTT, 10.20.0.5``."""
    if sender is None:
        return integration.type
    for field in sender.fields:
        value = integration.config.get(field.name)
        if field.secret or value in (None, "", []):
            continue
        if field.kind == "lines" and field.required:
            return f"{sender.label}, {len(value)} address{'es' if len(value) != 1 else ''}"
        if field.kind == "url" and value != field.default:
            return f"{sender.label}, {urlsplit(value).hostname or value}"
        if field.name == "host":
            return f"{sender.label}, {value}"
    return sender.label


def health(
    known: KnownIntegration, breaker: Breaker | None, counted: Deliveries, now: float, zone: tzinfo | None
) -> Health:
    """Return how an integration is: working, failing, paused, disabled or never used."""
    kept = known.integration
    if not kept.enabled and kept.disabled_reason == "gone":
        when = "" if known.last_failure_at is None else f", {_near(known.last_failure_at, now, zone)}"
        return Health("Disabled", f"answered 410 Gone{when}", glyph="g-idle")
    if not kept.enabled:
        return Health("Off", glyph="g-idle")
    if breaker is not None:
        left = 0 if breaker.next_probe_at is None else round(breaker.next_probe_at.timestamp() - now)
        probe = f"next check in {formats.lasting(left)}" if left > 0 else "the next notice checks it"
        return Health(f"Paused after {breaker.failures} failures", _joined(probe, *_counts(counted)), "medium")
    if known.unreachable_since is not None:
        since = _near(known.unreachable_since, now, zone)
        return Health(f"Nobody reached since {since}", _joined(*_counts(counted), _why(known)), "crit")
    if known.failing_since is not None:
        since = _near(known.failing_since, now, zone)
        return Health(f"Failing since {since}", _joined(*_counts(counted), _why(known)), "crit")
    if known.last_success_at is None:
        return Health("Never used", glyph="g-new")
    return Health("Working", glyph="g-on")


def plain(error: str | None) -> str:
    """Return an error in words, without its code and without the line for the operator's file, see :func:`allowing`."""
    text = _LINE.sub("", _CODE.sub("", error or "")).strip().rstrip(";.")
    return text[:1].upper() + text[1:]


@dataclass(frozen=True, slots=True)
class Allowing:
    """What an operator writes into ``appliance.toml`` so that a refused destination is allowed."""

    lines: str
    network: str | None
    """The whole network of an address, as another choice."""


def allowing(error: str | None) -> Allowing | None:
    """Return the lines that would allow what an error refuses, None where it is about something else."""
    found = _LINE.search(error or "")
    if found is None:
        return None
    entry = re.search(r'"([^"]+)"', found[1])
    wider = None
    if entry is not None:
        address = ip_address(entry[1].partition("/")[0])
        wider = str(ip_network((address, 24 if address.version == 4 else 64), strict=False))
    return Allowing(f"[delivery]\n{found[1]}", wider)


def answered(outcome: Outcome) -> str:
    """Return the answer: ``503 Service Unavailable``; empty if there was none."""
    if outcome.status is None:
        return ""
    try:
        phrase = HTTPStatus(outcome.status).phrase if outcome.request.startswith("POST ") else ""
    except ValueError:
        phrase = ""
    return f"{outcome.status} {phrase}".strip()


def meaning(outcome: Outcome) -> str:
    """Return what an outcome means, in one sentence."""
    if outcome.status is None and outcome.verdict is not Verdict.DELIVERED:
        return f"{plain(outcome.error) or 'No answer came'}."
    return {
        Verdict.DELIVERED: "The receiver took the sample.",
        Verdict.RETRY: "The receiver answered but did not accept the notice. It would be tried again.",
        Verdict.REFUSED: "The receiver refused the notice. It would not be tried again.",
        Verdict.GONE: "The receiver says that it is gone. A notice would disable this integration.",
        Verdict.UNREACHED: "Nobody was reached. Notices would wait until somebody is.",
    }[outcome.verdict]


def steps(outcome: Outcome) -> tuple[str, str] | None:
    """Return the steps before the answer with their times: ``Name, connect, TLS`` and ``12, 31, 58 ms``."""
    taken = [(label, outcome.timings[step]) for step, label in STEPS if outcome.timings.get(step)]
    if not taken:
        return None
    title = ", ".join(label for label, _ in taken)
    return title[:1].upper() + title[1:], f"{', '.join(formats.milliseconds(seconds) for _, seconds in taken)} ms"


def clock_of_receiver(outcome: Outcome, sent: float) -> str | None:
    """Return how far a receiver's clock is from ours, None where it does not tell."""
    if outcome.answered_at is None:
        return None
    apart = outcome.answered_at.timestamp() - (sent + outcome.latency)
    if abs(apart) < IN_STEP:
        return "in step, fine"
    far = abs(apart)
    shown = f"{round(far)} s" if far < 90 else formats.lasting(60 * round(far / 60))
    return f"{shown} {'ahead' if apart > 0 else 'behind'}"


def took(outcome: Outcome) -> str:
    """Return how long a try took: ``0.8 s``, ``12 ms``."""
    return f"{outcome.latency:.1f} s" if outcome.latency >= 0.1 else f"{formats.milliseconds(outcome.latency)} ms"


def _counts(counted: Deliveries) -> list[str]:
    dead = f"{formats.count(counted.failed)} dead" if counted.failed else ""
    return [dead, f"{formats.count(counted.waiting)} waiting" if counted.waiting else ""]


def _why(known: KnownIntegration) -> str:
    """Return the last error, short: the status if there was one."""
    text = known.last_error or ""
    status = re.search(r"answered (\d{3})\b", text)
    return status[1] if status else plain(text)[:80]


def _joined(*parts: str) -> str:
    return ", ".join(filter(None, parts))


def _near(at: datetime, now: float, zone: tzinfo | None) -> str:
    """Return ``13:48`` of today, else its day."""
    moment = at.timestamp()
    if formats.local(moment, zone).date() == formats.local(now, zone).date():
        return formats.short_time(moment, zone)
    return f"{formats.local(moment, zone):%-d %b}"
