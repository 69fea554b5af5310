"""``/openapi.json``: the API in OpenAPI 3.1, made of the routes and their declarations.

Enters: the routes of the application. Leaves: one document, made at the first request and kept. Never: a route that
does not exist, since paths, methods and path parameters come from the router.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
from quart import Blueprint, Quart, Response, current_app
from werkzeug.routing import Rule

import appliance
from appliance.people.kept_answers import KEY_FIELD
from appliance.web.access.auth import OPEN, allow
from appliance.web.http.cookies import SESSION
from appliance.web.http.request_id import HEADER as REQUEST_ID
from appliance.web.openapi.describe import (
    LEAST_KEY,
    MOST_KEY,
    REPLAYED,
    CallerCredential,
    Operation,
    answer,
    declared,
    describe,
)
from appliance.web.openapi.entity_tag import IF_MATCH

REFERENCE = "#/components/schemas/{name}"
PROBLEM = "application/problem+json"
TENANT: dict[str, Any] = {
    "name": "tenant",
    "in": "query",
    "description": "For operators: the tenant. Lists show all tenants without it, everything else requires it.",
    "schema": {"type": "string"},
}
CHANGED_FROM: dict[str, Any] = {
    "name": IF_MATCH,
    "in": "header",
    "description": "The ETag that was read, in place of `version`: 412 if it was changed since. `*`: any.",
    "schema": {"type": "string"},
}
KEY: dict[str, Any] = {
    "name": KEY_FIELD,
    "in": "header",
    "description": "Made up by the caller, new for each request that is meant: sent again within 24 hours by the same "
    "account, the request is answered as the first time and does nothing. Refused requests keep no key; 422 for a key "
    "of a request with other content.",
    "schema": {"type": "string", "minLength": LEAST_KEY, "maxLength": MOST_KEY},
}
NAMED = {
    REQUEST_ID: {
        "description": "The id of the request, as its caller sent it or a new one: the log has the same.",
        "schema": {"type": "string"},
    }
}
REPEATED = {
    REPLAYED: {
        "description": "`true`: the key was seen before, and this is what was answered then.",
        "schema": {"type": "string", "const": "true"},
    }
}
LIMITED: dict[str, Any] = {
    "description": "Too many requests of this token or session. Every answer to one says in `RateLimit-Limit`, "
    "`RateLimit-Remaining` and `RateLimit-Reset` how many pass at once, how many are left, and in how many seconds all "
    "of them are; `RateLimit-Policy` and `RateLimit` say the same as draft-ietf-httpapi-ratelimit-headers-11 does.",
    "headers": {
        "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}},
        "RateLimit-Limit": {"schema": {"type": "integer"}},
        "RateLimit-Remaining": {"schema": {"type": "integer"}},
        "RateLimit-Reset": {"schema": {"type": "integer"}},
        "RateLimit-Policy": {"schema": {"type": "string"}},
        "RateLimit": {"schema": {"type": "string"}},
    },
    "content": {PROBLEM: {"schema": {"$ref": REFERENCE.format(name="Problem")}}},
}
TAG = {"ETag": {"description": "Its version, for If-Match.", "schema": {"type": "string"}}}
SILENT = {"HEAD", "OPTIONS"}
"""Methods that the router adds automatically."""


class Problem(msgspec.Struct, frozen=True):
    """An error (RFC 9457). ``code`` is the reason for programs, ``detail`` for people."""

    type: str
    title: str
    status: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Described:
    """One operation of the document, with its route."""

    path: str
    method: str
    endpoint: str
    operation: Operation
    rule: Rule


def blueprint() -> Blueprint:
    """Return the route of the document."""
    routes = Blueprint("openapi", __name__)
    kept: list[dict[str, Any]] = []

    @routes.get("/openapi.json")
    @allow(OPEN)
    @describe(
        "This document",
        answers={HTTPStatus.OK: dict[str, Any]},
        credential=CallerCredential.NONE,
    )
    async def openapi() -> Response:
        if not kept:
            kept.append(document(current_app))
        return answer(kept[0])

    return routes


def document(app: Quart) -> dict[str, Any]:
    """Return the whole document."""
    described = sorted(_described(app), key=lambda one: (one.path, one.method))
    schemas = _Schemas(_types(described))
    paths: dict[str, dict[str, Any]] = {}
    for one in described:
        paths.setdefault(one.path, {})[one.method] = _operation(one, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Edge Appliance",
            "version": appliance.__version__,
            "description": "What the pages show and do, by the same rules. Operators name the tenant by `?tenant=`.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas.components,
            "securitySchemes": _security_schemes(),
            "responses": {"RateLimited": LIMITED},
        },
    }


def _described(app: Quart) -> Iterator[Described]:
    for rule in app.url_map.iter_rules():
        operation = declared(app.view_functions[rule.endpoint])
        if operation is not None:
            for method in sorted((rule.methods or set()) - SILENT):
                yield Described(_path(rule.rule), method.lower(), rule.endpoint, operation, rule)


def _path(rule: str) -> str:
    """Return ``/a/<int:b>`` as ``/a/{b}``."""
    return re.sub(r"<(?:[^<>:]+:)?([^<>]+)>", r"{\1}", rule)


class _Schemas:
    """Schemas of all types of the document, which may refer to each other."""

    def __init__(self, types: list[Any]) -> None:
        made, self.components = msgspec.json.schema_components(types, ref_template=REFERENCE)
        self._made = dict(zip(map(repr, types), made, strict=True))

    def __getitem__(self, wanted: Any) -> dict[str, Any]:
        return self._made[repr(wanted)]

    def properties(self, wanted: type[msgspec.Struct]) -> Iterator[tuple[str, Mapping[str, Any], bool]]:
        """Yield the fields of a struct: name, schema, and whether it is required."""
        schema = self[wanted]
        while "$ref" in schema:
            schema = self.components[schema["$ref"].rpartition("/")[2]]
        for name, field_schema in schema["properties"].items():
            yield name, field_schema, name in schema.get("required", ())


def _types(described: Iterable[Described]) -> list[Any]:
    """Return every type that some operation names, each once."""
    named: list[Any] = [Problem]
    for one in described:
        operation = one.operation
        named += [operation.query, operation.body, *operation.answers.values(), *operation.problems.values()]
    return list({repr(each): each for each in named if each is not None}.values())


def _operation(one: Described, schemas: _Schemas) -> dict[str, Any]:
    operation = one.operation
    parameters = [*_path_parameters(one.rule), *_query_parameters(operation, schemas)]
    parameters += [{"name": name, "in": "header", **_text(meaning)} for name, meaning in operation.headers.items()]
    if one.path.startswith("/customer/"):
        parameters.append(TENANT)
    if operation.takes_key(one.method):
        parameters.append(KEY)
    if one.method == "patch" and _has_version(operation.body):
        parameters.append(CHANGED_FROM)
    described: dict[str, Any] = {
        "operationId": one.endpoint
        if len((one.rule.methods or set()) - SILENT) == 1
        else f"{one.endpoint}.{one.method}",
        "tags": [one.endpoint.partition(".")[0]],
        "summary": operation.summary,
        "responses": _responses(operation, schemas, keyed=operation.takes_key(one.method)),
        "security": _security(operation.credential, one.method),
    }
    if operation.details:
        described["description"] = operation.details
    if parameters:
        described["parameters"] = parameters
    content = {kind: {"schema": schema} for kind, schema in operation.bodies.items()}
    if operation.body is not None:
        content["application/json"] = {"schema": schemas[operation.body]}
    if content:
        described["requestBody"] = {"required": True, "content": content}
    return described


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"<(?:[^<>:]+:)?([^<>]+)>", rule.rule):
        converter = rule._converters[name]  # noqa: SLF001 - not available elsewhere
        kind = type(converter).__name__
        schema: dict[str, Any] = {"type": "string"}
        if kind == "IntegerConverter":
            schema = {"type": "integer"}
        elif kind == "UUIDConverter":
            schema = {"type": "string", "format": "uuid"}
        elif kind == "AnyConverter":
            schema = {"type": "string", "enum": sorted(converter.items)}  # type: ignore[attr-defined] # of AnyConverter
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _query_parameters(operation: Operation, schemas: _Schemas) -> Iterator[dict[str, Any]]:
    if operation.query is None:
        return
    for name, schema, required in schemas.properties(operation.query):
        parameter: dict[str, Any] = {"name": name, "in": "query", "schema": dict(schema)}
        if "description" in schema:
            parameter["description"] = parameter["schema"].pop("description")
        if required:
            parameter["required"] = True
        yield parameter


def _responses(operation: Operation, schemas: _Schemas, *, keyed: bool) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, kind in operation.answers.items():
        response: dict[str, Any] = {"description": status.phrase}
        if kind is not None:
            response["content"] = {"application/json": {"schema": schemas[kind]}}
        if operation.csv and status is HTTPStatus.OK:
            response.setdefault("content", {})["text/csv"] = {"schema": {"type": "string"}}
        if operation.download is not None and status is HTTPStatus.OK:
            response["content"] = {operation.download: {"schema": {"type": "string", "format": "binary"}}}
        headers = {name: _text(meaning) for name, meaning in operation.answer_headers.items()}
        headers |= TAG if _has_version(kind) else {}
        headers |= REPEATED if keyed else {}
        response["headers"] = headers | NAMED
        responses[str(status.value)] = response
    for status, kind in operation.problems.items():
        content = {PROBLEM: {"schema": schemas[kind]}}
        responses[str(status.value)] = {"description": status.phrase, "content": content}
    if operation.credential is CallerCredential.PERSON:
        responses[str(HTTPStatus.TOO_MANY_REQUESTS.value)] = {"$ref": "#/components/responses/RateLimited"}
    responses["default"] = {"description": "An error", "content": {PROBLEM: {"schema": schemas[Problem]}}}
    return responses


def _text(meaning: str) -> dict[str, Any]:
    """Return a header that is a text."""
    return {"description": meaning, "schema": {"type": "string"}}


def _has_version(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct) and "version" in kind.__struct_fields__


def _security(credential: CallerCredential, method: str) -> list[dict[str, list[str]]]:
    match credential:
        case CallerCredential.NONE:
            return []
        case CallerCredential.DEVICE:
            return [{"device": []}]
        case CallerCredential.PERSON:
            session: dict[str, list[str]] = {"session": []} if method == "get" else {"session": [], "csrf": []}
            return [{"token": []}, session]


def _security_schemes() -> dict[str, Any]:
    return {
        "token": {"type": "http", "scheme": "bearer", "description": "An API token of a person."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": SESSION.name,
            "description": "As the sign-in page sets it; under TLS its name begins with `__Host-`.",
        },
        "csrf": {
            "type": "apiKey",
            "in": "header",
            "name": "X-CSRF-Token",
            "description": "With the session, for all but GET: the token that every page carries.",
        },
        "device": {
            "type": "http",
            "scheme": "bearer",
            "description": "The token of the device, or its tenant's claim password while it has none of its own.",
        },
    }
