"""Each key has its type and bounds; what is not known is told with the nearest that is."""

import pytest

from tests.support.configuring import fault_of


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n[broker]\nprt = 1", "3: broker.prt: unknown key; the nearest is broker.port"),
        ("[limits]\nmax_tracked_devce = 1", "2: limits.max_tracked_devce: unknown key; the nearest is "),
        ("devce_limit = 1", "1: devce_limit: unknown key; the nearest is "),
        ("[limits]\nbatch_size = 1", "2: limits.batch_size: unknown key; the nearest is ingest.batch_size"),
        ("port = 1", "1: port: unknown key; the nearest is broker.port"),
        ("data_dri = 'x'", "1: data_dri: unknown key; the nearest is data_dir"),
        ("\n[brokr]\nport = 1", "2: brokr: unknown section; the nearest is [broker]"),
        ("broker.port.x = 1", "1: broker.port: must be a whole number from 0 to 65535, not a table"),
        ("[[broker]]\nport = 1", "1: broker: is a section, not a key; write [broker] on a line of its own"),
        ("broker = 1", "1: broker: is a section, not a key; write [broker] on a line of its own"),
        ("[web]\nport_file = 'x'", "2: web.port_file: unknown key; the nearest is web.port"),
        ('"a\\nb" = 1', '1: "a\\nb": unknown key; the nearest is '),
        ("'' = 1", '1: "": unknown key; the nearest is '),
    ],
)
def test_unknown_keys_name_line_and_nearest(text: str, message: str) -> None:
    assert fault_of(text).startswith(f"appliance.toml:{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("broker.port = '1883'", 'broker.port: must be a whole number from 0 to 65535, not "1883"'),
        ("broker.port = 65536", "broker.port: must be a whole number from 0 to 65535, not 65536"),
        ("broker.port = -1", "broker.port: must be a whole number from 0 to 65535, not -1"),
        ("broker.port = 1.0", "broker.port: must be a whole number from 0 to 65535, not 1.0"),
        ("broker.port = true", "broker.port: must be a whole number from 0 to 65535, not true"),
        ("broker.host = 1", "broker.host: must be a host name or an IP address, not 1"),
        (
            "broker.host = 'a\\nb'",
            'broker.host: must be a host name or an IP address, not "a\\\\nb"',
        ),
        ('broker.host = "a\\n"', 'broker.host: must be a host name or an IP address, not "a\\n"'),
        ("broker.host = ''", 'broker.host: must be a host name or an IP address, not ""'),
        ("limits.rate = nan", "limits.rate: must be a number from 0.001 to 1e+06, not nan"),
        ("limits.rate = inf", "limits.rate: must be a number from 0.001 to 1e+06, not inf"),
        ("limits.rate = 0", "limits.rate: must be a number from 0.001 to 1e+06, not 0"),
        ("limits.burst = 0", "limits.burst: must be a whole number from 1 to 10000000, not 0"),
        ("ingest.require_token = 'yes'", 'ingest.require_token: must be true or false, not "yes"'),
        ("ingest.require_token = 1", "ingest.require_token: must be true or false, not 1"),
        ("log.level = 'loud'", 'log.level: must be one of "debug", "error", "info", "warning", not "loud"'),
        ("log.level = ['info']", 'log.level: must be one of "debug", "error", "info", "warning", not a list'),
        ("web.port = 2026-11-23", "web.port: must be a whole number from 0 to 65535, not a date"),
        ("data_dir = 1", "data_dir: must be a path, not a whole number"),
        ("data_dir = '~/x'", "data_dir: must be an absolute path: ~ is not expanded"),
        ('data_dir = "a\\nb"', "data_dir: must be a path without control characters"),
        ("web.public_url = 'example.org'", "web.public_url: must be http://HOST[:PORT] or https://HOST[:PORT]"),
        ("web.public_url = 'https://a b/c'", "web.public_url: must be http://HOST[:PORT] or https://HOST[:PORT]"),
        (
            "web.trusted_proxies = '127.0.0.1'",
            "web.trusted_proxies: must be a list, each item an address or a network, such as 127.0.0.1, ::1 or 10.20.",
        ),
        (
            "web.trusted_proxies = ['nginx']",
            'web.trusted_proxies: its item "nginx" must be an address or a network, such as 127.0.0.1',
        ),
        ("broker.url = 1883", "broker.url: must be mqtt://HOST[:PORT], mqtts://HOST[:PORT], ws://HOST[:PORT]/PATH"),
        ("mail.sender = 'a@b@c'", "mail.sender: must be a plain e-mail address, such as appliance@example.org"),
        ("mail.sender = 'a@b,c@d'", "mail.sender: must be a plain e-mail address"),
        ("mail.tls = 'ssl'", "mail.tls: must be "),
        (
            "delivery.allow_networks = '10.0.0.0/8'",
            "delivery.allow_networks: must be a list, each item a network, such",
        ),
        (
            "delivery.allow_networks = [1]",
            "delivery.allow_networks: its item 1 must be a network, such as 10.20.0.0/24",
        ),
        ("delivery.allow_networks = ['lan']", 'delivery.allow_networks: its item "lan" must be a network'),
        ("delivery.allow_ports = [443, 0]", "delivery.allow_ports: its item 0 must be a whole number from 1 to 65535"),
        (f"delivery.allow_ports = {[81] * 65}", "delivery.allow_ports: has 65 items, which are too many"),
        ("subscriptions.renewal_opens_days = 3651", "subscriptions.renewal_opens_days: must be a whole number from 0"),
        (
            "subscriptions.plans = ['pro']",
            "subscriptions.plans: must be a table of names, each with a whole number from 1 to 2147483647, not a list",
        ),
        (
            "[subscriptions.plans]\npro = 200\n\nbasic = 0",
            "subscriptions.plans.basic: must be a whole number from 1 to 2147483647, not 0",
        ),
        ("[subscriptions.plans]\npro = true", "subscriptions.plans.pro: must be a whole number from 1 to 2147483647"),
        (
            "[subscriptions.plans]\npro = '25'",
            'subscriptions.plans.pro: must be a whole number from 1 to 2147483647, not "25"',
        ),
        (
            "[subscriptions.plans]\npro = 2.5",
            "subscriptions.plans.pro: must be a whole number from 1 to 2147483647, not 2.5",
        ),
        (
            "[subscriptions.plans]\npro.x = 5",
            "subscriptions.plans.pro: must be a whole number from 1 to 2147483647, not a",
        ),
        ("[subscriptions.plans]\n'' = 5", 'subscriptions.plans."": a name has 1 to 256 characters that can be shown'),
        ("[subscriptions.plans]\n' a' = 5", "subscriptions.plans. a: a name has 1 to 256 characters"),
        ('[subscriptions.plans]\n"a\\n" = 5', 'subscriptions.plans."a\\n": a name has 1 to 256 characters'),
        ("database.url = 5", "database.url: must be text, not a whole number"),
        ("database.url = ''", "database.url: must be text without control characters, and not empty"),
    ],
)
def test_wrong_types_and_ranges_say_what_is_allowed(text: str, message: str) -> None:
    assert fault_of(f"\n{text}").startswith(f"appliance.toml:{text.count(chr(10)) + 2}: {message}")
