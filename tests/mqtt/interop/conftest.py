"""Fixtures of the tests with ejabberd."""

import secrets
from collections.abc import Iterator

import pytest

from tests.support.certificates import Authority
from tests.support.ejabberd_server import EjabberdServer

MAX_QUEUE = 1000
MAX_PAYLOAD = 100_000
"""Bytes."""
ACCOUNT = {"appliance": "a long password"}


@pytest.fixture(scope="session")
def authority() -> Authority:
    """The CA that signed the broker's certificate."""
    return Authority()


@pytest.fixture(scope="session")
def ejabberd(authority: Authority) -> Iterator[EjabberdServer]:
    """The broker of the test session, for anybody, on every transport.

    It is shared: use topics and client identifiers of your own, and never stop it. It lets nobody publish or subscribe
    below ``closed/``, and keeps ``MAX_QUEUE`` messages for a client.
    """
    options = {
        "max_queue": MAX_QUEUE,
        "access_publish": {"open/#": "all", "closed/#": "none"},
        "access_subscribe": {"open/#": "all", "closed/#": "none"},
    }
    certificate = authority.certificate("localhost", "127.0.0.1")
    with EjabberdServer(
        users=ACCOUNT, options=options, listener={"max_payload_size": MAX_PAYLOAD}, certificate=certificate
    ) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A topic of our own on the shared broker, and an identifier."""
    return f"open/{secrets.token_hex(6)}"
