"""Fixtures of the tests of the client with aiomqtt's interface."""

import secrets

import pytest


@pytest.fixture
def topic() -> str:
    """A topic of our own on the shared broker."""
    return f"test/{secrets.token_hex(6)}"
