"""Rules between keys, and addresses whose parts do not go together."""

import pytest

from appliance.config import Config, Secret, Web, load, warnings
from tests.support.configuring import STRONG, fault_of, load_text

BROKER = "broker.url = 'mqtt://b'\nbroker.username = 'me'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("web.port = 1883", "1: web.port: broker.port and web.port are both 1883; choose another for one"),
        ("broker.port = 8080", "1: broker.port: broker.port and web.port are both 8080; choose another for one"),
        (
            "ingest.receive_max = 4095",
            "1: ingest.receive_max: batch_size must be at most half of receive_max (now 2048 and 4095)",
        ),
        ("broker.username = 'a'", "1: broker.username: is for an external broker"),
        (
            "broker.url = 'mqtt://b'\nbroker.bind_client_ids = true",
            "2: broker.bind_client_ids: is for the embedded broker",
        ),
        (f"broker.password = '{STRONG}'", "1: broker.password: is for an external broker"),
        (
            f"broker.url = 'mqtt://b'\nbroker.password = '{STRONG}'",
            "2: broker.password: needs broker.username too",
        ),
        ("mail.username = 'a'", "1: mail.username: is for a mail server; set mail.host too"),
        ("mail.host = 'm'", "1: mail.host: needs mail.sender too"),
        ("mail.host = 'm'\nmail.sender = 'a@b'\nmail.username = 'a'", "3: mail.username: needs mail.password too"),
        (
            f"mail.host = 'm'\nmail.sender = 'a@b'\nmail.username = 'a'\nmail.password = '{STRONG}'\nmail.tls = 'none'",
            "5: mail.tls: a password is only sent under TLS",
        ),
        (
            "delivery.heartbeat_url = 'ftp://watcher.example/a'",
            "1: delivery.heartbeat_url: is not an address; write https://HOST/PATH",
        ),
        (
            "delivery.heartbeat_url = 'https:///a'",
            "1: delivery.heartbeat_url: is not an address; write https://HOST/PATH",
        ),
        (
            "delivery.heartbeat_url = 'https://me:marked@watcher.example'",
            "1: delivery.heartbeat_url: must have no user",
        ),
        ("delivery.allow_networks = ['10.20.0.31/24']", '1: delivery.allow_networks: "10.20.0.31/24" is an address in'),
        (
            "delivery.allow_networks = ['10.20.0/24']",
            '1: delivery.allow_networks: "10.20.0/24" is not a network; write',
        ),
        (
            "backup.folder = '/b'",
            "1: backup.folder: is set without backup.passphrase, and no backup is written",
        ),
        ("backup.passphrase = 'too short'", "1: backup.passphrase: is too short; at least 12 characters are needed"),
        ("backup.time_zone = 'Mars/Base'", "1: backup.time_zone: there is no such time zone; choose one by its name"),
        ("backup.at = '24:00'", '1: backup.at: must be a time of day, such as "02:30", not "24:00"'),
        ("delivery.read_timeout = 11", "1: delivery.read_timeout: read_timeout must be at most total_timeout (now 10)"),
        ("delivery.total_timeout = 5", "1: delivery.total_timeout: read_timeout must be at most total_timeout (now 5)"),
        ("web.host = '300.1.1.1'", '1: web.host: "300.1.1.1" is not an address: IPv4 has four numbers up to 255'),
        ("broker.host = '1.2.3'", '1: broker.host: "1.2.3" is not an address'),
        ("broker.host = '1.2.3.4:5'", '1: broker.host: "1.2.3.4:5" is not an address'),
        ("broker.url = 'mqtt://10.0.0.256'", '1: broker.url: "10.0.0.256" is not an address'),
        ("broker.url = 'mqtt://b:99999'", "1: broker.url: has a port that cannot be; a port is a number from 1 to"),
        ("broker.url = 'mqtt://b:0'", "1: broker.url: has a port that cannot be"),
        ("web.public_url = 'https://edge.example:70000'", "1: web.public_url: has a port that cannot be"),
        (
            "web.public_url = 'https://host/edge'",
            '1: web.public_url: has a path, "/edge": the appliance does not work below a path of another site',
        ),
        ("web.public_url = 'http://host:80/'", '1: web.public_url: has a path, "/": '),
        ("web.trusted_proxies = ['10.20.0']", '1: web.trusted_proxies: "10.20.0" is neither an address nor a network;'),
        ("web.trusted_proxies = ['10.0.0.1/33']", '1: web.trusted_proxies: "10.0.0.1/33" is neither an address nor a'),
        (
            "web.trusted_proxies = ['10.0.0.1', '10.20.0.1/24']",
            '1: web.trusted_proxies: "10.20.0.1/24" is an address in a network; write 10.20.0.1 or 10.20.0.0/24',
        ),
        (
            "web.trusted_proxies = ['0.0.0.0/0']",
            '1: web.trusted_proxies: "0.0.0.0/0" is every address, so that anybody',
        ),
        ("web.trusted_proxies = ['::/0']", '1: web.trusted_proxies: "::/0" is every address'),
        ("mail.host = '1.2.3.400'\nmail.sender = 'a@b'", '1: mail.host: "1.2.3.400" is not an address'),
        ("retention.max_bytes = 268435455", "1: retention.max_bytes: must be at least 268435456, of which the log of"),
        (
            "database.url = 'postgresql://u@db/x'\nretention.max_bytes = 1000000000",
            "2: retention.max_bytes: counts what is below data_dir, and with database.url the readings are elsewhere",
        ),
        ("retention.days = 401", "1: retention.days: rollup_days must be at least as many as retention.days"),
    ],
)
def test_faults_between_keys(text: str, message: str) -> None:
    assert fault_of(text).startswith(f"appliance.toml:{message}")


@pytest.mark.parametrize(
    "text",
    [
        "broker.port = 0\nweb.port = 0",
        "broker.url = 'mqtt://b'\nweb.port = 1883",
        "web.port = 1883\nweb.host = '127.0.0.1'\nbroker.host = '192.0.2.1'",
        "ingest.batch_size = 100\ningest.receive_max = 200",
        "retention.max_bytes = 0\ndatabase.url = 'postgresql://u@db/x'",
        "retention.max_bytes = 268435456\nretention.when_full = 'hold'",
        "limits.rate = 5",
        "limits.burst = 1",
        "web.host = '::1'",
        "web.host = 'fe80::1%eth0'",
        "broker.url = 'mqtt://[::1]:1883'",
        "web.host = '3com.example'",
        "web.trusted_proxies = ['127.0.0.1', '::1', '10.20.0.0/24', 'fd12::/64', '10.0.0.1/32']",
    ],
)
def test_what_only_looks_like_a_fault(text: str) -> None:
    load_text(text)


@pytest.mark.parametrize(
    ("url", "tls", "warned"),
    [
        ("https://edge.example", False, "web.trusted_proxies"),
        ("https://edge.example", True, None),
        ("http://edge.example:8080", True, "web.public_url"),
        ("http://edge.example:8080", False, None),
    ],
)
def test_the_public_address_should_fit_who_speaks_tls(url: str, warned: str | None, *, tls: bool) -> None:
    config = Config(web=Web(public_url=url, tls=tls))
    assert [key for key, _ in warnings(config) if key.startswith("web.")] == ([] if warned is None else [warned])


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://db/x", "must start with postgresql://"),
        ("host=db password=thisisverysecret", "must start with postgresql://"),
        ("postgresql://[::1/x", "is not a valid address"),
        ("postgresql://me@db.example/x?sslmode=disable", "would send data in clear text to db.example"),
        ("postgresql://me@a:1,db.example:2/x?sslmode=allow", "would send data in clear text to a"),
        ("postgresql://me@db.example:99999/x", "has a port that cannot be; a port is a number from 1 to 65535"),
        ("postgresql://me@a:1,db.example:0/x", "has a port that cannot be"),
        ("postgresql://me@/x?host=db.example&port=70000", "has a port that cannot be"),
        ("postgresql://me@db.example:\uff11\uff12/x", "has a port that cannot be"),
        ("postgresql://me@/x?host=db.example&sslmode=disable", "would send data in clear text to db.example"),
    ],
)
def test_faults_in_the_database_address(url: str, message: str) -> None:
    fault = fault_of("", {"APPLIANCE_DATABASE_URL": url})
    assert fault.startswith(f"$APPLIANCE_DATABASE_URL: database.url: {message}")
    assert "thisisverysecret" not in fault


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///appliance?host=/run/postgresql",
        "postgresql://me@%2Frun%2Fpostgresql/x?sslmode=disable",
        "postgresql://me@localhost:5432/x?sslmode=disable",
        "postgres://me@[::1]:5432/x?sslmode=disable",
        "postgresql://me@127.0.0.1/x?sslmode=disable",
        "postgresql://me:correct%20horse%20battery@a:1,b:2/x?sslmode=verify-full",
    ],
)
def test_good_database_addresses(url: str) -> None:
    assert load(None, {"APPLIANCE_DATABASE_URL": url}).config.database.url == Secret(url)


def test_clear_text_to_another_machine_needs_a_word() -> None:
    url = "postgresql://me@db.example/x?sslmode=disable"
    load(None, {"APPLIANCE_DATABASE_URL": url, "APPLIANCE_DATABASE_ALLOW_INSECURE": "true"})
