"""What Mosquitto is told: nobody anonymous, a queue for an outage, the state on disk every five seconds."""

from pathlib import Path

from appliance.children.mosquitto_files import (
    BrokerLimits,
    DeviceListener,
    Users,
    acl_file,
    configuration,
    password_file,
)
from appliance.children.programs import MosquittoProgram

OLD = MosquittoProgram(Path("/usr/sbin/mosquitto"), (2, 0, 11), None)
DEBIAN_13 = MosquittoProgram(Path("/usr/sbin/mosquitto"), (2, 0, 21), None)
NEW = MosquittoProgram(Path("/usr/sbin/mosquitto"), (2, 1, 2), Path("/usr/lib/mosquitto_persist_sqlite.so"))


def rendered(program: MosquittoProgram, devices: DeviceListener | None) -> list[str]:
    text = configuration(Path("/data/mosquitto"), Path("/run/x"), program, BrokerLimits(), devices)
    return [line for line in text.splitlines() if not line.startswith("#")]


def option(lines: list[str], name: str) -> str:
    (value,) = (line.partition(" ")[2] for line in lines if line.partition(" ")[0] == name)
    return value


def test_limits_of_the_outage_budget() -> None:
    lines = rendered(OLD, None)
    assert int(option(lines, "max_queued_messages")) >= 200_000
    assert int(option(lines, "max_queued_bytes")) >= 200_000 * 1024
    assert int(option(lines, "memory_limit")) > 2 * int(option(lines, "max_queued_bytes"))
    assert option(lines, "max_inflight_messages") == "4096"
    assert int(option(lines, "message_size_limit")) > 16384
    assert int(option(lines, "max_packet_size")) > int(option(lines, "message_size_limit"))
    assert option(lines, "max_keepalive") == "300"
    assert not any(line.startswith("max_keepalive") for line in rendered(DEBIAN_13, None)), "it refuses 3.1.1 devices"
    assert option(lines, "persistent_client_expiration") == "14d"
    for name in ("upgrade_outgoing_qos", "queue_qos0_messages"):
        assert option(lines, name) == "true"
    assert option(lines, "check_retain_source") == "false", "a sweep would not see what a user has left that is gone"


def test_nobody_is_anonymous_and_sessions_outlive_the_broker() -> None:
    lines = rendered(OLD, None)
    assert option(lines, "allow_anonymous") == "false"
    assert option(lines, "per_listener_settings") == "false"  # see the module: "true" loses messages over a socket
    assert (option(lines, "persistence"), option(lines, "autosave_interval")) == ("true", "5")
    assert option(lines, "autosave_on_changes") == "false"


def test_with_persist_sqlite_every_change_is_on_disk() -> None:
    lines = rendered(NEW, None)
    assert option(lines, "plugin") == "/usr/lib/mosquitto_persist_sqlite.so"
    assert (option(lines, "plugin_opt_sync"), option(lines, "plugin_opt_flush_period")) == ("full", "0")
    assert not any(line.startswith(("persistence ", "autosave")) for line in lines)
    assert lines.index("plugin_opt_sync full") == lines.index("plugin /usr/lib/mosquitto_persist_sqlite.so") + 1


def test_devices_have_a_listener_only_when_they_are_let_in() -> None:
    private = "listener 0 /run/x/mosquitto.sock"
    assert [line for line in rendered(OLD, None) if line.startswith("listener")] == [private]
    lines = rendered(OLD, DeviceListener("0.0.0.0", 1883, bind_client_ids=False))
    assert [line for line in lines if line.startswith("listener")] == ["listener 1883 0.0.0.0", private]
    assert lines.index("max_connections 10000") == lines.index("listener 1883 0.0.0.0") + 1


def test_client_ids_are_bound_on_the_devices_listener_alone() -> None:
    bind = "use_username_as_clientid true"
    assert bind not in rendered(OLD, DeviceListener("0.0.0.0", 1883, bind_client_ids=False))
    lines = rendered(OLD, DeviceListener("0.0.0.0", 1883, bind_client_ids=True))
    place = lines.index(bind)
    assert lines[:place][-2].startswith("listener 1883 "), "it holds for the listener above it"
    assert lines[place + 1] == "listener 0 /run/x/mosquitto.sock"


def test_a_talking_broker_says_more_and_nothing_else_differs() -> None:
    quiet = rendered(OLD, None)
    text = configuration(Path("/data/mosquitto"), Path("/run/x"), OLD, BrokerLimits(), None, debug_logging=True)
    more = [line for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in more if line not in quiet] == ["log_type debug"]
    assert [line for line in more if line != "log_type debug"] == quiet


def test_the_appliances_own_user_comes_first() -> None:
    assert password_file("HASH", "TRY", Users("acme:x\n")).splitlines() == [
        "appliance:HASH",
        "appliance/probe:TRY",
        "acme:x",
    ]
    assert "x" not in repr(Users("acme:x\n"))


def test_a_device_may_what_its_name_spells() -> None:
    text = acl_file(Users())
    assert [line for line in text.splitlines() if line.startswith("pattern")] == [
        "pattern write tenant/%u/telemetry",
        "pattern write tenant/%u/heartbeat",
        "pattern write tenant/%u/status",
        "pattern read tenant/%u/down/#",
    ], "what else a device may publish, the broker keeps in its memory"
    assert text.count("topic readwrite") == 1


def test_lines_of_claim_users_stand_behind_the_patterns() -> None:
    claims = "user acme\ntopic write tenant/acme/device/+/telemetry\n"
    assert acl_file(Users(claims=claims)) == acl_file(Users()) + claims


def test_what_the_broker_keeps_of_a_message_is_little_more_than_the_largest_that_is_stored() -> None:
    lines = rendered(OLD, None)
    assert int(option(lines, "message_size_limit")) <= 2 * 16384
    assert int(option(lines, "max_packet_size")) <= 3 * 16384, "it is set aside as soon as a client announces a packet"
