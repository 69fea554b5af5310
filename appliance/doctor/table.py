"""All checks, in the order in which their results are shown: one entry is one check."""

from typing import Any

from appliance.doctor import (
    backups,
    certificates,
    counts,
    files,
    machine,
    process,
    restores,
    rights,
    schema,
    settings,
    time_zones,
)
from appliance.doctor.check import Check

CHECKS: tuple[Check[Any], ...] = (
    Check("alive", "A running appliance answers.", process.look_at_life, process.judge_life),
    Check("ready", "Messages are accepted and stored.", process.look_at_readiness, process.judge_readiness),
    Check(
        "configuration",
        "The configuration means what it says.",
        process.look_at_configuration,
        process.judge_configuration,
    ),
    Check("broker", "An external broker can be reached.", process.look_at_broker, process.judge_broker),
    Check("database", "Postgres answers.", settings.look_at_answer, settings.judge_answer),
    Check("postgres_version", "Postgres is 15 or newer.", settings.look_at_version, settings.judge_version),
    Check("fsync", "P2: committed is on the disk.", settings.look_at_settings, settings.judge_fsync),
    Check(
        "full_page_writes",
        "P3: a power cut damages no table.",
        settings.look_at_settings,
        settings.judge_full_page_writes,
    ),
    Check("synchronous_commit", "P2: acknowledged is committed.", settings.look_at_commits, settings.judge_commits),
    Check(
        "migrations",
        "The schema is complete and as it was released.",
        schema.look_at_migrations,
        schema.judge_migrations,
    ),
    Check(
        "guards",
        "P7: the database itself enforces what it has to.",
        schema.look_at_guards,
        schema.judge_guards,
    ),
    Check(
        "partitions",
        "Every day that readings may have has its partition.",
        schema.look_at_partitions,
        schema.judge_partitions,
        mend="partitions",
    ),
    Check(
        "collations",
        "Text sorts as the indexes were built.",
        schema.look_at_collations,
        schema.judge_collations,
        mend="collations",
    ),
    Check("roles", "P19: the four roles are what they should be.", rights.look_at_roles, rights.judge_roles),
    Check("rights", "P20: readings and audit are never rewritten.", rights.look_at_rights, rights.judge_rights),
    Check("row_level_security", "P19: Postgres keeps tenants apart.", rights.look_at_walls, rights.judge_walls),
    Check("ledger", "P1: every message is accounted for.", counts.look_at_ledger, counts.judge_ledger),
    Check("seats", "P7: seats in use are the active devices.", counts.look_at_seats, counts.judge_seats),
    Check("devices", "P6: no device is registered twice.", counts.look_at_devices, counts.judge_once),
    Check("alerts", "P13: no alert is open twice.", counts.look_at_alerts, counts.judge_once),
    Check("notices", "P14: notices are sent, by one machine alone.", restores.look_at_hold, restores.judge_hold),
    Check(
        "peers",
        "Every appliance on the database listens, and has the same version.",
        counts.look_at_peers,
        counts.judge_peers,
    ),
    Check(
        "permissions", "P21: other users read no secret.", files.look_at_modes, files.judge_modes, mend="permissions"
    ),
    Check("identity", "Identity and keys can be read.", files.look_at_identity, files.judge_identity),
    Check(
        "certificates",
        "Certificates can be used.",
        certificates.look_at_certificates,
        certificates.judge_certificates,
    ),
    Check("backups", "The last night's backup can be restored.", backups.look_at_backups, backups.judge_backups),
    Check("clock", "P24: the clock is right, or harms nothing.", machine.look_at_clock, machine.judge_clock),
    Check("time_zones", "Local times are those of their zones.", time_zones.look_at_zones, time_zones.judge_zones),
    Check("disk", "P3: there is room for what comes in.", machine.look_at_disk, machine.judge_disk),
    Check("ports", "Devices and people reach the appliance.", machine.look_at_ports, machine.judge_ports),
    Check(
        "postgres_program",
        "The embedded Postgres can be started.",
        machine.look_at_postgres_program,
        machine.judge_program,
    ),
    Check(
        "mosquitto_program",
        "The embedded Mosquitto can be started.",
        machine.look_at_mosquitto_program,
        machine.judge_program,
    ),
    Check(
        "leftovers",
        "Nothing is left of a killed appliance.",
        machine.look_for_leftovers,
        machine.judge_leftovers,
    ),
)
