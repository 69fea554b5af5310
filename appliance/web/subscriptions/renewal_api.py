"""``/customer/subscription/renew``: renews a subscription, once however often it is asked for."""

from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from quart import Blueprint, Response, request

from appliance.devices.credentials.broker_sync import SyncStatus
from appliance.errors import Invalid
from appliance.renewals.answer import Answer
from appliance.renewals.candidates import MOST_CANDIDATES
from appliance.renewals.plan import MOST_SEATS, TERM_DAYS, Request
from appliance.renewals.renewal import KEY_FIELD
from appliance.web.access.auth import ADMINS, allow
from appliance.web.access.transactions import tenant_of
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import REPLAYED, answer, describe
from appliance.web.openapi.document import Problem
from appliance.web.page.paths import subscription_of_path
from appliance.web.subscriptions.renewal_actions import RenewalActions

DETAILS = (
    "The new term begins when the present one ends, or now if it has. Sent again with the same key it answers as "
    "before; the same request within 24 hours, whatever its key, answers as the first with `changed` false, and so "
    "does one that is too early: it names the day from which renewing opens. `again` renews all the same, and needs a "
    "key.\n\n"
    "Fewer seats than are in use: name exactly as many devices as must stop; else 400 says how many are `needed`, with "
    "the `candidates`. Other refusals: 404 for a subscription that is not yours; 409 for an add-on, which renews with "
    "its main subscription, for a trial where there is a main one, and while the appliance's clock is in doubt; 422 "
    "for a key that another request has used. What is refused changes nothing and keeps no key."
)

TermDays = Annotated[
    int, Meta(description="Days of the tenant's calendar.", extra_json_schema={"enum": list(TERM_DAYS)})
]
Seats = Annotated[int, Meta(extra_json_schema={"minimum": 1, "maximum": MOST_SEATS})]
RenewalKey = Annotated[str, Meta(description="1 to 255 printable characters; the header of this name says the same.")]


class RenewalNew(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A renewal to make. What is left out or null stays as it is."""

    subscription_id: str
    term_days: TermDays
    new_device_limit: Annotated[Seats | None, Meta(description="At most what the plan allows.")] = None
    plan_id: str | None = None
    devices_to_deactivate: Annotated[
        tuple[str, ...] | None,
        Meta(description="Ids of the devices that stop, where fewer seats remain than are in use."),
    ] = None
    again: Annotated[bool, Meta(description="Renew early, or once more on purpose; needs a key.")] = False
    idempotency_key: RenewalKey | None = None
    key_by_name: Annotated[RenewalKey | None, Meta(description="As `idempotency_key`.")] = msgspec.field(
        default=None, name=KEY_FIELD
    )


class CandidateOut(msgspec.Struct, frozen=True):
    """A device that could stop."""

    device_id: str
    name: str | None
    last_seen_at: Annotated[datetime | None, Meta(description="Null: nothing of it was ever accepted.")]


class RenewalProblem(Problem, frozen=True, kw_only=True):
    """Why it cannot be renewed so."""

    field: Annotated[str | UnsetType, Meta(description="What is to blame in the request.")] = UNSET
    needed: Annotated[int | UnsetType, Meta(description="How many devices must be named.")] = UNSET
    candidates: Annotated[
        list[CandidateOut] | UnsetType, Meta(description=f"Longest silent first, at most {MOST_CANDIDATES:,}.")
    ] = UNSET


class RenewalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the subscription."""

    subscription_id: str
    renewed: Annotated[bool, Meta(description="By this request or the one that it repeats.")]
    changed: Annotated[bool, Meta(description="Whether this request, when it was first answered, changed anything.")]
    previous_term_end: datetime
    new_term_end: datetime
    device_limit: int
    devices_deactivated: list[str]
    note: Annotated[str | None, Meta(description="`Already active` where nothing changed.")]
    renewing_opens: Annotated[
        date | None, Meta(description="If it was too early: the first day, in the tenant's zone.")
    ]
    hint: Annotated[str | None, Meta(description="What can be done, in one sentence.")]
    broker: Annotated[
        SyncStatus | None, Meta(description="Whether the broker knows that the devices' credentials are revoked.")
    ]


def blueprint(actions: RenewalActions) -> Blueprint:
    """Return the route of renewals in the API."""
    routes = Blueprint("api_renewals", __name__)

    @routes.post("/customer/subscription/renew")
    @allow(ADMINS)
    @describe(
        "Renew a subscription",
        details=DETAILS,
        headers={KEY_FIELD: "1 to 255 printable characters, one for each renewal that is meant."},
        body=RenewalNew,
        answers={HTTPStatus.OK: RenewalAnswer},
        answer_headers={REPLAYED: "`true`: the key was seen before, and this is what was answered then."},
        problems={HTTPStatus.BAD_REQUEST: RenewalProblem},
        keyed=False,  # its requests are told apart by what they ask for, and their keys are kept for the whole term
    )
    async def renew() -> Response:
        wanted = await body(RenewalNew)
        asked = Request(
            subscription_of_path(wanted.subscription_id),
            wanted.term_days,
            wanted.new_device_limit,
            wanted.plan_id,
            wanted.devices_to_deactivate or (),
            wanted.again,
        )
        outcome = await actions.renew(tenant_of(), asked, key=key_of(wanted.idempotency_key, wanted.key_by_name))
        headers = {REPLAYED: "true"} if outcome.renewed.replayed else {}
        return answer(_shown(outcome.renewed.answer, outcome.sync_status), HTTPStatus.OK, headers)

    return routes


def key_of(*in_body: str | None) -> str | None:
    """Return the key of the current request, from its header or its body; None without one.

    Raises Invalid for two that differ.
    """
    given = {*request.headers.getlist(KEY_FIELD), *(key for key in in_body if key is not None)}
    if len(given) > 1:
        raise Invalid("Two different keys were sent; send one, as the header or in the body.", "idempotency_key")
    return next(iter(given), None)


def _shown(made: Answer, sync_status: SyncStatus | None) -> RenewalAnswer:
    return RenewalAnswer(**msgspec.structs.asdict(made), broker=sync_status)
