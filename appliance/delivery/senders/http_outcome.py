"""One HTTP request for a notice, and the outcome that its answer means.

========================================  ==========================================
2xx                                       delivered
3xx                                       refused (``redirect``): never followed
408, 425, 429, 5xx, a status above 599    retry, after ``Retry-After`` where it is given
410                                       gone
any other status                          refused
a certificate or TLS that is not good     refused (``tls``)
an address that is not allowed            refused (``address``, ``port``, ``scheme``)
no name, no connection, no handshake      unreached
no answer to a request that was sent      retry; it may have arrived
========================================  ==========================================
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import trio

from appliance.delivery.notices.notice import Notice
from appliance.delivery.notices.text import cut
from appliance.delivery.outgoing.http import HttpAnswer, HttpRequest, NoAnswer, exchange
from appliance.delivery.outgoing.http_backend import Progress
from appliance.delivery.outgoing.network import Network, NotAllowed, Unreached
from appliance.delivery.outgoing.tls import TlsRefused
from appliance.delivery.outgoing.urls import parse
from appliance.delivery.senders.masking import Mask, of_address
from appliance.delivery.senders.sender import ANSWER_BYTES, REQUEST_CHARACTERS, Outcome, Verdict
from appliance.errors import Invalid

JSON_TYPE = ("Content-Type", "application/json")
USER_AGENT = ("User-Agent", "edge-appliance")
MAX_RETRY_AFTER = 3600.0
"""Seconds that a receiver can make us wait."""
_LATER = frozenset({408, 425, 429})
_LOCATION_CHARACTERS = 200
_UNSEEN = re.compile(r"[^\x20-\x7e•]+")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where an integration sends by HTTP."""

    address: str = field(repr=False)
    ca: str | None = field(default=None, repr=False)
    secret: bool = False
    """Whether the address is a secret itself."""


async def send_json(
    network: Network,
    receiver: Receiver,
    notice: Notice,
    payload: Any,
    *,
    headers: Sequence[tuple[str, str]] = (),
    secrets: Collection[str] = (),
) -> Outcome:
    """Post JSON to a receiver, and return the outcome; a payload of bytes is JSON already."""
    try:
        url = parse(receiver.address, "url")
    except Invalid as fault:  # the check has become stricter since it was saved
        return Outcome(Verdict.REFUSED, 0.0, error=f"address: {fault}")
    body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
    hidden = [*secrets, notice.acknowledge_url or "", *(of_address(url) if receiver.secret else ())]
    request = HttpRequest(url, [JSON_TYPE, USER_AGENT, *headers], body, ca=receiver.ca)
    return await post(network, request, hidden, notice.made_at)


async def post(network: Network, request: HttpRequest, secrets: Collection[str], now: datetime) -> Outcome:
    """Send a request once, and return its outcome with every secret masked. ``now`` is the service time of the try."""
    mask = Mask(secrets)
    progress = Progress()
    began = trio.current_time()
    answer: HttpAnswer | None = None
    by_dates = False
    try:
        answer = await exchange(network, request, progress)
        verdict, error = _judged(answer, mask)
    except (NotAllowed, TlsRefused) as refusal:
        by_dates = isinstance(refusal, TlsRefused) and refusal.by_dates
        verdict, error = Verdict.REFUSED, str(refusal)
    except ValueError as fault:
        verdict, error = Verdict.REFUSED, f"tls: the CA certificate {fault}"
    except Unreached as fault:
        verdict, error = Verdict.UNREACHED, str(fault)
    except NoAnswer as fault:
        verdict, error = Verdict.RETRY, str(fault)
    latency = trio.current_time() - began
    answered_at = _date(answer.header("date")) if answer else None
    return Outcome(
        verdict,
        latency,
        may_have_arrived=answer is None and progress.sent,
        status=answer.status if answer else None,
        answer=mask.bytes(answer.body)[:ANSWER_BYTES] if answer else b"",
        error=mask.text(error) if error else None,
        retry_after=_retry_after(answer, answered_at or now + timedelta(seconds=latency), verdict),
        address=progress.address,
        request=_shown(request, mask),
        timings={step: seconds for step, seconds in progress.timings.items() if step != "write"},
        by_dates=by_dates,
        answered_at=answered_at,
    )


def _judged(answer: HttpAnswer, mask: Mask) -> tuple[Verdict, str | None]:
    """Return what an answer means, and why in words."""
    status = answer.status
    if 200 <= status < 300:
        return Verdict.DELIVERED, None
    if status == 410:
        return Verdict.GONE, "status: answered 410: the receiver is gone"
    if status in _LATER or status >= 500:
        return Verdict.RETRY, f"status: answered {status}"
    if 300 <= status < 400:
        location = cut(_UNSEEN.sub(" ", mask.text(answer.header("location") or "nowhere")), _LOCATION_CHARACTERS)
        return Verdict.REFUSED, f"redirect: answered {status} to {location}, which is not followed"
    return Verdict.REFUSED, f"status: answered {status}"


def _retry_after(answer: HttpAnswer | None, now: datetime, verdict: Verdict) -> float | None:
    """Return the seconds of ``Retry-After``, given as such or as a date, at most an hour."""
    given = answer.header("retry-after") if answer and verdict is Verdict.RETRY else None
    if given is None:
        return None
    given = given.strip()
    if given.isascii() and given.isdigit():
        return min(float(given[:9]), MAX_RETRY_AFTER)
    until = _date(given)
    return None if until is None else min(max((until - now).total_seconds(), 0.0), MAX_RETRY_AFTER)


def _date(given: str | None) -> datetime | None:
    """Return a date of a header, None for none and for one that is no date."""
    try:
        found = parsedate_to_datetime(given or "")
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _shown(request: HttpRequest, mask: Mask) -> str:
    """Return a request as people see it: the line, the headers, the body."""
    lines = [f"{request.method} {request.url.target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in request.wire_headers()]
    text = "\n".join([*lines, "", request.body.decode("utf-8", "replace")])
    return mask.text(text)[:REQUEST_CHARACTERS]
