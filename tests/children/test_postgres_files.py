"""What Postgres is told: durable, on one socket, the kernel's word for who connects."""

from pathlib import Path

import pytest

from appliance.children.postgres_files import (
    DURABLE,
    Memory,
    configuration,
    host_based_authentication,
    identity_map,
    log_sizes,
)

MIB, GIB = 1024**2, 1024**3
LOG = log_sizes(500 * GIB, None)


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
    found = settings(configuration(Path("/run/it's"), Memory(), LOG))
    assert found["listen_addresses"] == "''"
    assert found["unix_socket_directories"] == "'/run/it''s'"
    assert found["unix_socket_permissions"] == "0700"


def test_row_values_and_statements_stay_out_of_the_log() -> None:
    found = settings(configuration(Path("/run/x"), Memory(), LOG))
    assert (found["log_error_verbosity"], found["log_min_error_statement"]) == ("terse", "panic")
    assert found["log_min_messages"] == "log"


def test_durability_is_beyond_the_reach_of_a_file() -> None:
    assert {("fsync", "on"), ("full_page_writes", "on"), ("synchronous_commit", "on")} <= set(DURABLE)
    assert not settings(configuration(Path("/run/x"), Memory(), LOG)).keys() & {"fsync", "full_page_writes"}


@pytest.mark.parametrize(
    ("disk", "segment", "most", "kept", "segments"),
    [
        (260_000_000, None, 41, 41, 4),
        (400 * MIB, None, 66, 66, 4),
        (400 * MIB, 16, 66, 66, 16),
        (100 * MIB, 64, 128, 128, 64),
        (2 * GIB, None, 341, 128, 4),
        (500 * GIB, None, 1024, 128, 16),
    ],
)
def test_the_log_has_a_size_by_the_disk(disk: int, segment: int | None, most: int, kept: int, segments: int) -> None:
    sizes = log_sizes(disk, segment)
    assert (sizes.most, sizes.kept, sizes.segment) == (most, kept, segments)
    assert sizes.ahead is (disk < 4 * GIB)
    found = settings(configuration(Path("/run/x"), Memory(), sizes))
    assert (found["max_wal_size"], found["min_wal_size"], found["wal_recycle"]) == (f"{most}MB", f"{kept}MB", "on")
    assert kept >= 2 * segments, "Postgres takes no less"
