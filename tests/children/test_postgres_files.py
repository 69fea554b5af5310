"""What Postgres is told: durable, on one socket, the kernel's word for who connects."""

from pathlib import Path

import pytest

from appliance.children.postgres_files import (
    DURABLE,
    Memory,
    configuration,
    host_based_authentication,
    identity_map,
)


def settings(text: str) -> dict[str, str]:
    pairs = (line.partition(" = ") for line in text.splitlines() if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def test_there_is_no_trust_and_no_line_for_hosts() -> None:
    lines = [line for line in host_based_authentication().splitlines() if not line.startswith("#")]
    assert lines == ["local all all peer map=appliance"]


def test_our_users_may_be_the_roles_and_nobody_else_anything() -> None:
    lines = identity_map(["root", "postgres", "root"], ["appliance_web"]).splitlines()[1:]
    assert lines == [
        'appliance "root" "postgres"',
        'appliance "root" "appliance_web"',
        'appliance "postgres" "postgres"',
        'appliance "postgres" "appliance_web"',
    ]
    with pytest.raises(ValueError, match="not a name"):
        identity_map(['a" "b'], [])


def test_nothing_listens_on_tcp_and_the_socket_is_ours() -> None:
    found = settings(configuration(Path("/run/it's"), Memory()))
    assert found["listen_addresses"] == "''"
    assert found["unix_socket_directories"] == "'/run/it''s'"
    assert found["unix_socket_permissions"] == "0700"


def test_row_values_and_statements_stay_out_of_the_log() -> None:
    found = settings(configuration(Path("/run/x"), Memory()))
    assert (found["log_error_verbosity"], found["log_min_error_statement"]) == ("terse", "panic")
    assert found["log_min_messages"] == "log"


def test_durability_is_beyond_the_reach_of_a_file() -> None:
    assert {("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")} <= set(DURABLE)
    assert not settings(configuration(Path("/run/x"), Memory())).keys() & {"fsync", "full_page_writes"}
