"""Every statement in sql/queries is one that Postgres understands and that somebody uses."""

import re
from collections.abc import Iterator

import psycopg
import pytest
from psycopg._queries import _query2pg
from psycopg.pq import ExecStatus

from appliance.assets import asset
from appliance.db import statements
from tests.support.postgres_server import Database
from tests.support.project import PACKAGE

PACKAGES = sorted(path.stem for path in asset("sql", "queries").glob("*.sql"))
SOURCES = sorted(PACKAGE.rglob("*.py"))
NAMES = [(package, name) for package in PACKAGES for name in statements.load(package)]


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database.conninfo()) as opened:
        yield opened


@pytest.mark.parametrize("package", PACKAGES)
def test_postgres_understands_every_statement(connection: psycopg.Connection, package: str) -> None:
    """Each is parsed and analysed over the protocol, as when it is prepared for the first time."""
    texts = statements.load(package)
    for text in texts.values():
        if text.startswith("CREATE TEMPORARY TABLE"):
            connection.execute(text.encode())  # others here are about it
    wrong = {}
    for name, text in texts.items():
        if "%" in text:
            prepared, *_ = _query2pg(text.encode(), "utf-8")
        else:
            prepared = text.encode()
        result = connection.pgconn.prepare(b"", prepared)
        if result.status != ExecStatus.COMMAND_OK:
            wrong[name] = result.error_message.decode()
            connection.rollback()
        elif text.startswith("COPY"):
            with connection.cursor().copy(text.encode()):
                pass  # a utility statement is looked at only when it runs
    assert wrong == {}


def test_every_statement_is_used() -> None:
    """By its name in quotes, in some source of the product."""
    quoted = {name for path in SOURCES for name in re.findall(r"""["']([a-z][a-z0-9_]*)["']""", path.read_text())}
    assert [f"{package}: {name}" for package, name in NAMES if name not in quoted] == []


def test_names_and_texts() -> None:
    parsed = statements.parse(
        "-- 100% comment\n\n-- name: first\n-- why\nSELECT 1;\n-- name: second_one\nSELECT %(a)s,\n  -- in it\n  2\n",
        "x.sql",
    )
    assert parsed == {"first": "SELECT 1", "second_one": "SELECT %(a)s,\n  2"}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("SELECT 1", "before the first"),
        ("-- name: a\nSELECT 1\n-- name: a\nSELECT 2", "twice"),
        ("-- name: a\n-- only words", "no statement"),
        ("-- name: Not-a-name\nSELECT 1", "no name"),
    ],
)
def test_what_is_not_made_of_named_statements_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        statements.parse(text, "x.sql")


def test_an_unknown_name_says_where_it_was_looked_for() -> None:
    loaded = statements.load("db")
    assert len(loaded) == len(list(loaded)) > 0
    with pytest.raises(KeyError, match=r"nonsense in sql/queries/db\.sql"):
        loaded["nonsense"]
