"""``/customer/tokens`` and ``/customer/sessions``: the caller's own API tokens and sessions."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import msgspec
from quart import Blueprint, Response

from appliance.people import tokens
from appliance.people.role import Scope
from appliance.web.access.auth import ANYBODY_SIGNED_IN, allow, viewer
from appliance.web.openapi.body import body
from appliance.web.openapi.describe import answer, describe
from appliance.web.people.account_actions import AccountActions
from appliance.web.people.api import TokenList, own_password, shown_token


class TokenNew(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A token to create; a request with a token is refused."""

    name: str
    scopes: list[Scope]
    password: Annotated[str, msgspec.Meta(description="The caller's own password.")]
    days: Annotated[int, msgspec.Meta(ge=1, le=tokens.MAX_DAYS)] = 90


class TokenMade(msgspec.Struct, frozen=True):
    """The token; it is shown only once."""

    token: str


class SessionOut(msgspec.Struct, frozen=True):
    """A session of the caller."""

    session_id: UUID
    created_at: datetime
    seen_at: datetime
    expires_at: datetime
    kept: Annotated[bool, msgspec.Meta(description="Stays signed in for 30 days.")]
    address: str | None
    agent: str | None
    this_one: bool


class SessionList(msgspec.Struct, frozen=True):
    """All sessions of the caller."""

    items: list[SessionOut]


def blueprint(account: AccountActions) -> Blueprint:
    """Return the routes of the viewer's own account in the API."""
    routes = Blueprint("api_account", __name__)

    @routes.get("/customer/tokens")
    @allow(ANYBODY_SIGNED_IN)
    @describe("List your API tokens", answers={HTTPStatus.OK: TokenList})
    async def list_tokens() -> Response:
        return answer(TokenList([shown_token(token) for token in await account.tokens()]))

    @routes.post("/customer/tokens")
    @allow(ANYBODY_SIGNED_IN)
    @describe("Create an API token", body=TokenNew, answers={HTTPStatus.CREATED: TokenMade})
    async def add_token() -> Response:
        new = await body(TokenNew)
        with own_password():
            secret = await account.add_token(new.password, new.name, new.scopes, new.days)
        return answer(TokenMade(secret), HTTPStatus.CREATED)

    @routes.delete("/customer/tokens/<uuid:token_id>")
    @allow(ANYBODY_SIGNED_IN)
    @describe("Revoke an API token of yours", answers={HTTPStatus.NO_CONTENT: None})
    async def revoke_token(token_id: UUID) -> Response:
        await account.revoke_token(token_id)
        return Response("", HTTPStatus.NO_CONTENT)

    @routes.get("/customer/sessions")
    @allow(ANYBODY_SIGNED_IN)
    @describe("List your sessions", answers={HTTPStatus.OK: SessionList})
    async def list_sessions() -> Response:
        own = viewer().session_id
        items = [
            SessionOut(
                session_id=session.session_id,
                created_at=session.created_at,
                seen_at=session.seen_at,
                expires_at=session.expires_at,
                kept=session.kept,
                address=session.address,
                agent=session.agent,
                this_one=session.session_id == own,
            )
            for session in await account.sessions()
        ]
        return answer(SessionList(items))

    @routes.delete("/customer/sessions/<uuid:session_id>")
    @allow(ANYBODY_SIGNED_IN)
    @describe("End a session of yours", answers={HTTPStatus.NO_CONTENT: None})
    async def end_session(session_id: UUID) -> Response:
        await account.end_session(session_id)
        return Response("", HTTPStatus.NO_CONTENT)

    return routes
