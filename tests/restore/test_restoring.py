"""A restore that fails before anything is moved says that nothing was, and what it cannot fill it refuses."""

from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from appliance.db.endpoint import Endpoint
from appliance.errors import ApplianceError, Conflict
from appliance.restore.restoring import raise_untouched, refuse_filled
from tests.support.postgres_server import Database

FAILED = ApplianceError("psql failed: no room")


@pytest.mark.parametrize(
    "error",
    [FAILED, OSError("psql failed: no room"), ExceptionGroup("nursery", [ExceptionGroup("nursery", [FAILED])])],
    ids=["error", "disk", "nurseries"],
)
def test_what_people_can_mend_is_told_with_what_is_there(error: Exception) -> None:
    with pytest.raises(ApplianceError, match=r"^psql failed: no room\. What was in /data is as it was$"):
        raise_untouched(Path("/data"), error)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        Conflict("busy"),
        ValueError("a fault"),
        BaseExceptionGroup("", [FAILED, KeyboardInterrupt()]),
    ],
    ids=["interrupt", "conflict", "fault", "interrupted"],
)
def test_any_other_error_stays_what_it_is(error: BaseException) -> None:
    raise_untouched(Path("/data"), error)


async def test_a_database_of_another_program_is_refused_also_where_nothing_of_ours_is(database: Database) -> None:
    base = psycopg.conninfo.conninfo_to_dict(database.conninfo())
    with psycopg.connect(database.conninfo(), autocommit=True) as superuser:
        superuser.execute("DROP ROLE IF EXISTS stranger")
        superuser.execute("CREATE ROLE stranger LOGIN")
    try:
        url = psycopg.conninfo.make_conninfo("", **{**base, "user": "stranger"})
        with pytest.raises(ApplianceError, match=f"the database {base['dbname']} is not empty"):
            await refuse_filled(Endpoint.external(url), datetime.now(UTC))
    finally:
        with psycopg.connect(database.conninfo(), autocommit=True) as superuser:
            superuser.execute("DROP ROLE stranger")
