"""API tokens with the scope for messages: an admin's program speaks for the devices of its tenant, and no others."""

from collections.abc import Sequence

import pytest

from appliance.db.pool import open_pool
from appliance.ingest.batch import Accepted, Verdict
from appliance.people.role import Role
from tests.support.postgres_server import Database
from tests.support.web.accounts import http_client, signed_in, token_of
from tests.support.web.parts import parts
from tests.support.web.serving import serving
from tests.support.web.stand_ins import NoDevices


class Taking(NoDevices):
    """Ingest that knows no secret of a device and accepts every message that passes the authentication."""

    async def take(self, topic: str, payloads: Sequence[bytes], hop_count: str | None = None) -> list[Verdict]:
        del topic, hop_count
        return [Accepted.STORED for _ in payloads]


@pytest.mark.parametrize(
    ("role", "scopes", "status"),
    [
        (Role.ADMIN, "{ingest}", 202),
        (Role.OPERATOR, "{ingest}", 202),
        (Role.ADMIN, "{read,write}", 401),
        (Role.VIEWER, "{ingest}", 401),
        (Role.RESPONDER, "{ingest}", 401),
    ],
)
async def test_who_may_send(database: Database, role: Role, scopes: str, status: int) -> None:
    token = token_of(database, signed_in(database.conninfo(), role), scopes)
    assert await _sent(database, "acme", token) == status


async def test_no_other_tenants_devices(database: Database) -> None:
    token = token_of(database, signed_in(database.conninfo(), Role.ADMIN, "globex"), "{ingest}")
    assert [await _sent(database, tenant, token) for tenant in ("globex", "acme", "nobodys")] == [202, 401, 401]


@pytest.mark.parametrize("token", ["x", "\xe9", "a" * 5000])
async def test_what_is_no_token(database: Database, token: str) -> None:
    assert await _sent(database, "acme", token) == 401


async def _sent(database: Database, tenant_id: str, token: str) -> int:
    """The status of a message with this token."""
    async with open_pool(database.conninfo("appliance_ingest"), name="ingest", min_size=1, max_size=2) as pool:
        given = parts(pool).having(source=Taking())
        async with serving(given) as served, http_client() as program:
            answer = await program.post(
                f"{served.url}/ingest/tenant/{tenant_id}/device/d1/telemetry",
                content=b'{"a": 1}',
                headers=[
                    (b"Authorization", f"Bearer {token}".encode("latin1")),
                    (b"Content-Type", b"application/json"),
                ],
            )
            return answer.status_code
