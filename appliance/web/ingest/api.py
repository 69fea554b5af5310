"""``POST /ingest/tenant/{tenant}/device/{device}/telemetry``, ``/heartbeat`` and ``/claim``.

Authentication comes first, and every failure of it has the same answer. Then the body is split into messages, which go
through the pipeline; the answer is sent after the commit.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Literal

import msgspec
import trio
from quart import Blueprint, Response, request
from werkzeug.exceptions import RequestEntityTooLarge

from appliance.db.audit import Actor, ActorKind
from appliance.db.change_context import ChangeContext
from appliance.devices.credentials.credential import IssuedSecrets
from appliance.devices.registry.claims import ClaimPending, ClaimRefused, ClaimTaken
from appliance.devices.registry.provisioning import ProvisioningRequest
from appliance.devices.topics import valid_id
from appliance.ingest.batch import Accepted, Verdict
from appliance.ingest.http import MAX_MESSAGES, Form, split
from appliance.people.role import Scope
from appliance.reading import HOP_COUNT, Reason, Refusal
from appliance.web.access.auth import ADMINS, OPEN, allow
from appliance.web.access.gate import bearer
from appliance.web.ingest.port import IngestPort, MessageSource
from appliance.web.openapi.describe import CallerCredential, answer, describe
from appliance.web.openapi.problem import problem
from appliance.web.platform import Platform

STATUSES: Mapping[Reason, HTTPStatus] = {
    Reason.BAD_TOPIC_FORMAT: HTTPStatus.BAD_REQUEST,
    Reason.PAYLOAD_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Reason.RATE_LIMITED: HTTPStatus.TOO_MANY_REQUESTS,
    Reason.INVALID_ENCODING: HTTPStatus.BAD_REQUEST,
    Reason.INVALID_JSON: HTTPStatus.BAD_REQUEST,
    Reason.INVALID_PAYLOAD: HTTPStatus.BAD_REQUEST,
    Reason.INVALID_METRIC: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.TOO_MANY_METRICS: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.INVALID_TIMESTAMP: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.TENANT_MISMATCH: HTTPStatus.CONFLICT,
    Reason.DEVICE_MISMATCH: HTTPStatus.CONFLICT,
    Reason.UNKNOWN_TENANT: HTTPStatus.NOT_FOUND,
    Reason.TENANT_SUSPENDED: HTTPStatus.FORBIDDEN,
    Reason.UNREGISTERED_DEVICE: HTTPStatus.FORBIDDEN,
    Reason.PENDING_APPROVAL: HTTPStatus.FORBIDDEN,
    Reason.NO_SUBSCRIPTION_CAPACITY: HTTPStatus.PAYMENT_REQUIRED,
    Reason.DEVICE_INACTIVE: HTTPStatus.FORBIDDEN,
    Reason.DEVICE_REVOKED: HTTPStatus.FORBIDDEN,
    Reason.DEVICE_DECOMMISSIONED: HTTPStatus.FORBIDDEN,
    Reason.SUBSCRIPTION_SUSPENDED: HTTPStatus.PAYMENT_REQUIRED,
    Reason.SUBSCRIPTION_EXPIRED: HTTPStatus.PAYMENT_REQUIRED,
    Reason.TOKEN_MISSING: HTTPStatus.FORBIDDEN,
    Reason.TOKEN_INVALID: HTTPStatus.FORBIDDEN,
    Reason.TOKEN_NOT_SET: HTTPStatus.FORBIDDEN,
    Reason.SITE_MISMATCH: HTTPStatus.CONFLICT,
    Reason.TIMESTAMP_TOO_OLD: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.STORE_REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    # A fault of the appliance; the message is held. A client that tries again does no harm if it sends its own `ts`.
    Reason.INTERNAL_ERROR: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of the answer to a single refused message; a test checks that no reason is missing."""

COMMIT_DEADLINE = 8.0
"""Seconds that a client waits to be recognised, and again for a commit; then it gets 503, and accepted messages are
committed when possible. The body between the two has a deadline of its own (``RequestLimits``)."""
RETRY_AFTER = "5"


MESSAGE = {
    "type": "object",
    "description": "A message: metrics, with or without `ts`, `seq`, `site_id` and a position.",
}


class RefusedMessage(msgspec.Struct, frozen=True):
    """One of several messages that was not accepted, and the reason."""

    index: int
    reason: Reason
    detail: str


class Receipt(msgspec.Struct, frozen=True, omit_defaults=True):
    """The outcome of the messages of a body, after the commit."""

    accepted: int
    duplicate: int = 0
    refused: list[RefusedMessage] | None = None
    """Each message of an array or NDJSON that was not accepted. A single message is refused by the status."""


class WaitingDevice(msgspec.Struct, frozen=True):
    """The device has no credential yet, and why it must wait."""

    status: Literal["waiting"]
    reason: Reason
    detail: str


def blueprint(platform: Platform, port: IngestPort) -> Blueprint:
    """Return the routes of HTTP ingest."""
    routes = Blueprint("ingest", __name__)

    @routes.post("/ingest/tenant/<tenant_id>/device/<device_id>/<any(telemetry, heartbeat):kind>")
    @allow(OPEN)
    @describe(
        "Send messages of a device",
        details="One object, an array of objects, or NDJSON: at most 1000 messages, 1 MiB. Answers after the commit.",
        bodies={
            "application/json": {"anyOf": [MESSAGE, {"type": "array", "items": MESSAGE}]},
            "application/x-ndjson": {"type": "string"},
        },
        answers={HTTPStatus.ACCEPTED: Receipt},
        credential=CallerCredential.DEVICE,
    )
    async def take(tenant_id: str, device_id: str, kind: str) -> Response:
        """Accept messages of one device."""
        health = platform.health()
        if health.postgres is not None:
            return _away()
        if health.disk is not None:
            return _full()
        return await _take(platform, port.source, tenant_id, device_id, kind)

    @routes.post("/ingest/tenant/<tenant_id>/device/<device_id>/claim")
    @allow(OPEN)
    @describe(
        "Exchange the tenant's claim password for the device's own credential",
        answers={HTTPStatus.CREATED: IssuedSecrets, HTTPStatus.ACCEPTED: WaitingDevice},
        credential=CallerCredential.DEVICE,
    )
    async def claim(tenant_id: str, device_id: str) -> Response:
        """Exchange the tenant's claim password for the device's own user, password and token."""
        if platform.health().postgres is not None:
            return _away()
        with trio.move_on_after(COMMIT_DEADLINE):
            return await _claim(platform, port, tenant_id, device_id)
        return _away()

    return routes


async def _claim(platform: Platform, port: IngestPort, tenant_id: str, device_id: str) -> Response:
    secret = bearer() or ""
    if not await port.source.authentic_claim(tenant_id, secret) or not secret:
        return _unauthorised()
    if not valid_id(device_id):
        return problem(HTTPStatus.BAD_REQUEST, Reason.BAD_TOPIC_FORMAT.value, "a device id is 1-64 of A-Za-z0-9._-")
    actor = Actor(f"{tenant_id}/{device_id}", ActorKind.DEVICE, request.remote_addr)
    context = ChangeContext(actor, platform.access.now(), platform.access.settled(), user_id=None)
    outcome = await port.claim(ProvisioningRequest(tenant_id, device_id), context)
    match outcome:
        case IssuedSecrets():
            return answer(outcome, HTTPStatus.CREATED)
        case ClaimPending(refusal):
            return answer(WaitingDevice("waiting", refusal.reason, refusal.detail), HTTPStatus.ACCEPTED)
        case ClaimRefused(refusal):
            return problem(STATUSES[refusal.reason], refusal.reason.value, refusal.detail)
        case ClaimTaken():
            detail = "the device has a credential of its own; an administrator rotates or revokes it"
            return problem(HTTPStatus.CONFLICT, "HAS_CREDENTIAL", detail)


async def _take(platform: Platform, source: MessageSource, tenant_id: str, device_id: str, kind: str) -> Response:
    if source.token_demanded:
        authentic = None
        with trio.move_on_after(COMMIT_DEADLINE):
            authentic = await _authentic(platform, source, tenant_id, device_id)
        if not authentic:
            return _away() if authentic is None else _unauthorised()
    form = _form()
    if form is None:
        return problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED_MEDIA_TYPE",
            "send application/json or application/x-ndjson in UTF-8, without Content-Encoding",
        )
    try:
        data: bytes = await request.get_data(cache=False, as_text=False)  # type: ignore[assignment] # not as text
        body = split(data, form)
    except RequestEntityTooLarge:
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "BODY_TOO_LARGE", "a body has at most 1 MiB")
    if len(body.payloads) > MAX_MESSAGES:
        detail = f"{len(body.payloads)} messages; a body has at most {MAX_MESSAGES}"
        return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TOO_MANY_MESSAGES", detail)
    topic, hop_count = f"tenant/{tenant_id}/device/{device_id}/{kind}", request.headers.get(HOP_COUNT)
    verdicts = None
    with trio.move_on_after(COMMIT_DEADLINE):
        verdicts = await source.take(topic, body.payloads, hop_count)
    if verdicts is None:
        return _away()
    limited = [
        payload
        for payload, verdict in zip(body.payloads, verdicts, strict=True)
        if isinstance(verdict, Refusal) and verdict.reason is Reason.RATE_LIMITED
    ]
    headers = {"Retry-After": str(source.retry_after(tenant_id, device_id, limited))} if limited else {}
    return _many(verdicts, headers) if body.many else _one(verdicts[0], headers)


async def _authentic(platform: Platform, source: MessageSource, tenant_id: str, device_id: str) -> bool:
    """Return whether the request shows the device's secret, its claim password, or an API token with the scope."""
    secret = bearer() or ""
    # Checked in any case, so that a missing secret takes as long as a wrong one.
    authentic = await source.authentic(tenant_id, device_id, secret)
    return bool(secret) and (authentic or await _may_send(platform, secret, tenant_id))


async def _may_send(platform: Platform, secret: str, tenant_id: str) -> bool:
    """Return whether the secret is an API token with the scope for messages of a user who administers this tenant."""
    who = await platform.identity.by_token(secret)
    if who is None or who.scopes is None or Scope.INGEST not in who.scopes or who.role not in ADMINS:
        return False
    return who.is_operator or who.tenant_id == tenant_id


def _form() -> Form | None:
    """Return the form of the body by its Content-Type, or None for an unsupported one."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    if request.mimetype_params.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        return None
    return next((form for form in Form if form.value == request.mimetype), None)


def _one(verdict: Verdict, headers: Mapping[str, str]) -> Response:
    if isinstance(verdict, Refusal):
        return problem(STATUSES[verdict.reason], verdict.reason.value, verdict.detail, headers)
    if verdict is Accepted.DUPLICATE:
        return answer(Receipt(accepted=0, duplicate=1), HTTPStatus.ACCEPTED)
    return answer(Receipt(accepted=1), HTTPStatus.ACCEPTED)


def _many(verdicts: list[Verdict], headers: Mapping[str, str]) -> Response:
    refused = [
        RefusedMessage(index, verdict.reason, verdict.detail)
        for index, verdict in enumerate(verdicts)
        if isinstance(verdict, Refusal)
    ]
    receipt = {
        "accepted": verdicts.count(Accepted.STORED),
        "duplicate": verdicts.count(Accepted.DUPLICATE),
        "refused": refused,
    }
    return answer(receipt, HTTPStatus.ACCEPTED, headers)


def _unauthorised() -> Response:
    """Return the one answer to every wrong credential (RFC 6750 §3)."""
    return problem(
        HTTPStatus.UNAUTHORIZED,
        "UNAUTHORIZED",
        "show the device's token, its tenant's claim password for a device without one, or an API token: "
        "Authorization: Bearer ...",
        {"WWW-Authenticate": 'Bearer realm="ingest"'},
    )


def _away() -> Response:
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "STORE_AWAY",
        "the database cannot be reached; send it again, with its own `ts` so that it is stored once",
        {"Retry-After": RETRY_AFTER},
    )


def _full() -> Response:
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "DISK_FULL",
        "the disk of the appliance is full; send it again later, with its own `ts` so that it counts as sent",
        {"Retry-After": RETRY_AFTER},
    )
