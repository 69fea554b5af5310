"""``appliance peer``: the appliances on a database, and the removal of one that is away."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from appliance.errors import Conflict, NotFound
from tests.cli.test_administration import ask
from tests.support.appliance_process import ApplianceProcess
from tests.support.pipeline import arrange, look
from tests.support.postgres_server import Database


@pytest.fixture
def administered(database: Database) -> Iterator[ApplianceProcess]:
    """The command line over a database with two peers, of which one is away."""
    arrange(
        database,
        "INSERT INTO ingest_instances (instance, name, version) VALUES ('aa', 'hall', '0.9.0'), ('bb', 'yard', '1.0')",
        """
        INSERT INTO listening (instance, began_at, ended_at)
        VALUES ('aa', now() - interval '1 day', now() - interval '2 hours'), ('bb', now() - interval '1 day', now())
        """,
    )
    with closing(ApplianceProcess()) as process:
        process.settings["APPLIANCE_DATABASE_URL"] = database.url
        yield process


def test_peers_are_listed_with_those_that_are_away(administered: ApplianceProcess) -> None:
    hall, yard = ask(administered, "peer", "list")
    assert set(hall) == {"instance", "name", "version", "listened_at", "devices", "away"}
    assert [(one["name"], one["away"], one["devices"]) for one in (hall, yard)] == [
        ("hall", True, 0),
        ("yard", False, 0),
    ]


def test_one_that_is_away_is_removed_once(administered: ApplianceProcess, database: Database) -> None:
    assert ask(administered, "peer", "remove", "aa") == {"removed": "aa"}
    with pytest.raises(NotFound):
        ask(administered, "peer", "remove", "aa")
    with pytest.raises(Conflict, match="yard is listening"):
        ask(administered, "peer", "remove", "bb")
    assert look(database, "SELECT instance FROM ingest_instances") == [("bb",)]
    assert look(database, "SELECT object_id, actor_kind FROM audit_log") == [("aa", "command")]
