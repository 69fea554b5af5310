"""P20 on the command line: whatever a command changes has its audit row in the same transaction."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import psycopg
import pytest

from appliance.cli import cli
from appliance.cli.administration import operating_system_user
from tests.support.audit_watch import AuditWatch
from tests.support.postgres_server import Database
from tests.support.program import invoke

GROUND = (
    "INSERT INTO tenants (created_at, updated_at, tenant_id) VALUES (now(), now(), 't'), (now(), now(), 'u')",
    """
    INSERT INTO subscriptions
      (created_at, tenant_id, subscription_id, subscription_type, device_limit, term_start, term_end, status)
    VALUES (now(), 't', 'main', 'MAIN', 9, now(), now() + interval '90 days', 'ACTIVE')
    """,
    (
        "INSERT INTO device_registry (created_at, updated_at, tenant_id, device_id, status)"
        " VALUES (now(), now(), 't', 'waits', 'PENDING')"
    ),
    """
    INSERT INTO quarantine_events (ingested_at, topic, tenant_id, device_id, kind, reason, payload)
    SELECT now(), 't', 't', 'd', 'telemetry', 'DEVICE_INACTIVE', '{}' FROM generate_series(1, 2)
    """,
    "INSERT INTO ingest_instances (instance) VALUES ('gone')",
)
"""What the commands find: two tenants, one with seats, a device that waits, two held messages."""

CHANGING: Sequence[tuple[str, Sequence[str]]] = (
    ("tenant add v", ["tenant.create"]),
    ("tenant provisioning t approve", ["tenant.provisioning"]),
    ("tenant suspend u", ["tenant.suspend"]),
    ("tenant resume u", ["tenant.resume"]),
    ("tenant rotate-claim t", ["tenant.rotate_claim"]),
    ("tenant claim t off", ["tenant.claim"]),
    ("tenant export v v.zip", ["tenant.export"]),
    ("tenant delete v --confirm v --for-good --no-wait", ["tenant.delete"]),
    ("subscription add u --limit 3 --days 9", ["subscription.add"]),
    ("subscription set main --limit 8", ["subscription.change"]),
    ("subscription renew main --days 30 --again --key order-4711", ["subscription.renew"]),
    ("device add t d --site hall", ["credential.create", "device.create"]),
    ("device approve t waits", ["device.approve"]),
    ("device rotate t d", ["credential.rotate"]),
    ("device switch t d", ["credential.switch"]),
    ("device revoke t d", ["device.revoke"]),
    ("device import t - --credentials", ["credential.create", "device.create"]),
    ("quarantine replay --id 1 --no-wait", ["quarantine.replay"]),
    ("quarantine cancel 1", ["quarantine.cancel_replay"]),
    ("quarantine dismiss --id 2", ["quarantine.dismiss"]),
    ("user add kim@t.example --role viewer --tenant t --password-stdin", ["user.add"]),
    ("user reset kim@t.example", ["user.reset"]),
    ("user disable kim@t.example", ["user.disable"]),
    ("user enable kim@t.example", ["user.enable"]),
    ("token add kim@t.example", ["token.add"]),
    ("peer remove gone", ["peer.remove"]),
)
"""Commands in an order in which each can work, and the actions that the audit then has."""
TYPED: Mapping[str, str] = {"device import": "device_id\nimported\n", "user add": "a heron in a wet field\n"}

READING = frozenset(
    {
        "check-config", "version", "tenant list", "device list", "device show", "subscription list", "user list",
        "ca", "healthcheck", "peer list", "sbom", "support-bundle",
        "quarantine list", "quarantine show", "quarantine counts", "quarantine replays",
    }
)  # fmt: skip
OTHERS: Mapping[str, str] = {
    "run": "the appliance itself",
    "backup": "changes nothing; that it was made has a row all the same: tests/cli/test_backup.py",
    "clock confirm": "needs a clock in doubt: tests/faults/test_clock_steps.py has its row",
    "confirm-restore": "needs a restore: tests/cli/test_confirm_restore.py has its row",
    "doctor": "reads; of --mend, which mends what is broken only, tests/doctor/test_machine_checks.py has the rows",
    "migrate": "the schema, which keeps its own list of what was done",
    "psql": "the database's own console",
    "setup-link": "opens a door while nobody is there; whoever goes through it is recorded",
    "restore": "brings another database; tests/system/test_restore.py has its row there",
    "simulate": "devices; the tenants of its stage are made by what other commands use",
}
"""What else there is, and why its changes have no row."""


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that can be run."""
    if not isinstance(command, click.Group):
        yield " ".join(path)
        return
    for name in command.list_commands(click.Context(command)):
        below = command.get_command(click.Context(command), name)
        assert below is not None
        yield from leaves(below, (*path, name))


def named(line: str) -> str:
    """The command of a line."""
    return next(name for name in leaves(cli) if f"{line} ".startswith(f"{name} "))


def test_of_every_command_it_is_known_what_it_changes() -> None:
    changing = {named(line) for line, _ in CHANGING}
    assert sorted(leaves(cli)) == sorted([*changing, *READING, *OTHERS])


def test_every_command_that_changes_something_has_its_audit_row_in_its_transaction(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where an export is written
    settings = {"APPLIANCE_DATABASE_URL": database.url}
    wrong = []
    with psycopg.connect(database.conninfo(), autocommit=True) as connection:
        for statement in GROUND:
            connection.execute(statement.encode())
        watch = AuditWatch.over(connection)
        for line, actions in CHANGING:
            watch.begin()
            done = invoke(settings, *line.split(), "--json", typed=TYPED.get(named(line)))
            gained = watch.gained()
            if done.exit_code or gained.actions != actions:
                wrong.append(f"{line}: {done.exit_code}, {gained.actions}; {done.output} {done.exception!r}")
            elif gained.actors != {operating_system_user()} or gained.kinds != {"command"}:
                wrong.append(f"{line}: {gained}")
            wrong += [f"{line}: wrote {sorted(tables)} aside" for tables in watch.unrecorded()]
    assert not wrong, "\n".join(wrong)
