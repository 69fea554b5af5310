"""Declares beside a route of the JSON API what it takes and answers; ``/openapi.json`` is made of the declarations.

    class DeviceFilter(msgspec.Struct, frozen=True, kw_only=True):
        presence: Annotated[tuple[Presence, ...], msgspec.Meta(description="Any of these.")] = ()
        limit: Annotated[int, msgspec.Meta(ge=1, le=1000, description="Rows of a page.")] = 50

    @routes.get("/customer/devices")
    @allow(*READERS)
    @describe("List devices", query=DeviceFilter, answers={HTTPStatus.OK: DevicePage}, csv=True)
    async def devices() -> Response:
        wanted = query(DeviceFilter)
        ...
        return answer(page)

``query`` reads the type that is described, so the two cannot differ; ``answer`` writes whatever msgspec can: structs
and dataclasses, whose docstrings become the descriptions of their schemas. A body is described with ``body=`` and read
by :mod:`appliance.web.openapi.body`. Every operation may answer ``application/problem+json``, so no declaration says
it. A route below one of ``PREFIXES`` without a declaration fails a test, and ``tests.web.openapi.contract`` compares
the answers of real requests with the document.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from http import HTTPStatus
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import msgspec
from quart import Response, request
from werkzeug.datastructures import MultiDict

from appliance.errors import Invalid
from appliance.web.openapi.entity_tag import tag_of
from appliance.web.openapi.validation import Struct, converted

PREFIXES = ("/customer/", "/operator/", "/ingest/")
"""Below these every route is an operation of the API."""
LEAST_KEY = 16
"""Characters: a shorter key is one that somebody else, or the same program another day, might make up again."""
MOST_KEY = 255
REPLAYED = "Idempotency-Replayed"
"""The header of an answer that was given before."""

View = TypeVar("View", bound=Callable[..., Any])

_ATTRIBUTE = "__described__"


class PageQuery(msgspec.Struct, frozen=True):
    """Which page of a list."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 50
    cursor: Annotated[str, msgspec.Meta(max_length=1000)] = ""


class CallerCredential(Enum):
    """How a caller proves who it is."""

    PERSON = "person"
    """The session cookie, with the CSRF token for all but GET; or an API token."""
    DEVICE = "device"
    """The token of a device, or its tenant's claim password."""
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the API. ``answers``: the type of the JSON body by status, None for an answer without a body."""

    summary: str
    answers: Mapping[HTTPStatus, Any]
    details: str = ""
    query: type[msgspec.Struct] | None = None
    body: Any = None
    bodies: Mapping[str, Any] = field(default_factory=dict)
    """Further content types of the body, each with its JSON schema."""
    csv: bool = False
    credential: CallerCredential = CallerCredential.PERSON
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that a caller may send, beyond those of every operation, each with its meaning."""
    answer_headers: Mapping[str, str] = field(default_factory=dict)
    """Headers that a successful answer may have, each with its meaning."""
    problems: Mapping[HTTPStatus, Any] = field(default_factory=dict)
    """Statuses of errors that say more than :class:`.document.Problem` does, each with its type."""
    download: str | None = None
    """The content type of the file that a successful answer is; None: it is none."""
    keyed: bool = True
    """Whether a POST is answered once for each Idempotency-Key; False: it changes nothing, or sees to that itself."""

    def takes_key(self, method: str) -> bool:
        """Return whether a request by this method may have an Idempotency-Key, and is then answered once."""
        return self.keyed and method.upper() == "POST" and self.credential is CallerCredential.PERSON


def describe(
    summary: str,
    *,
    answers: Mapping[HTTPStatus, Any],
    details: str = "",
    query: type[msgspec.Struct] | None = None,
    body: Any = None,
    bodies: Mapping[str, Any] = MappingProxyType({}),
    csv: bool = False,
    credential: CallerCredential = CallerCredential.PERSON,
    headers: Mapping[str, str] = MappingProxyType({}),
    answer_headers: Mapping[str, str] = MappingProxyType({}),
    problems: Mapping[HTTPStatus, Any] = MappingProxyType({}),
    download: str | None = None,
    keyed: bool = True,
) -> Callable[[View], View]:
    """Declare the operation that the decorated view serves. ``csv``: it also answers ``text/csv``, on ``Accept``."""
    operation = Operation(
        summary,
        answers,
        details,
        query,
        body,
        bodies,
        csv,
        credential,
        headers,
        answer_headers,
        problems,
        download,
        keyed,
    )

    def declare(view: View) -> View:
        setattr(view, _ATTRIBUTE, operation)
        return view

    return declare


def declared(view: Callable[..., Any]) -> Operation | None:
    """Return the declaration of a view, or None if it has none."""
    found: Operation | None = getattr(view, _ATTRIBUTE, None)
    return found


def check_names(view: Callable[..., Any], names: Iterable[str]) -> None:
    """Raise Invalid for a parameter that the operation of ``view`` does not have; a view without one takes any.

    A filter with a wrong name would select everything. Pages ignore unknown parameters instead, so that an address
    that was once shared still works.
    """
    operation = declared(view)
    if operation is None:
        return
    known = {"tenant"} | ({"format"} if operation.csv else set())
    if operation.query is not None:
        known |= {name for name, _ in _parameters(operation.query)}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            mend = (
                f"did you mean `{near[0]}`?" if near else f"there are {', '.join(f'`{one}`' for one in sorted(known))}."
            )
            raise Invalid(f"There is no parameter `{name}`; {mend}", name)


def query(wanted: type[Struct]) -> Struct:
    """Return the query of the current request as ``wanted``. Raises Invalid, which names the parameter.

    A parameter that is a list may be given several times. Empty parameters count as not given, since forms send them.
    """
    return parse_query(request.args, wanted)


def parse_query(arguments: MultiDict[str, str], wanted: type[Struct]) -> Struct:
    """Return ``arguments`` as ``wanted``, by the rules of :func:`query`."""
    given: dict[str, Any] = {}
    for name, is_list in _parameters(wanted):
        values = [value for value in arguments.getlist(name) if value != ""]
        if any("\0" in value for value in values):
            raise Invalid("This holds a character (NUL) that cannot be stored or found.", name)
        if values:
            given[name] = values if is_list else values[-1]
    return converted(given, wanted, strict=False)


def answer(value: Any, status: HTTPStatus = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer; one that has a version has its ETag."""
    response = Response(msgspec.json.encode(value), status=status.value, content_type="application/json")
    response.headers.extend(headers or {})
    tag = tag_of(value)
    if tag is not None:
        response.headers["ETag"] = tag
    return response


@cache
def _parameters(wanted: type[msgspec.Struct]) -> tuple[tuple[str, bool], ...]:
    """Return the parameters of a query, each with whether it is a list. Kept: to ask msgspec takes a millisecond."""
    return tuple((spec.encode_name, _is_list(spec.type)) for spec in msgspec.structs.fields(wanted))


def _is_list(annotation: Any) -> bool:
    kind = msgspec.inspect.type_info(annotation)
    if isinstance(kind, msgspec.inspect.Metadata):
        kind = kind.type
    lists = (msgspec.inspect.ListType, msgspec.inspect.VarTupleType, msgspec.inspect.SetType)
    return isinstance(kind, (*lists, msgspec.inspect.FrozenSetType))
