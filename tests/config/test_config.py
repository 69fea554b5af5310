"""The configuration: complete defaults, every source, and for every fault one line that names place, key and mend."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import FIELDS, Config, Loaded, Secret, default_data_dir, load, masked
from appliance.config import file as config_file
from appliance.errors import ConfigurationError
from tests.support.project import ROOT

COMMITTED = ROOT / "appliance.toml"
STRONG = "correct horse battery"


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in a folder of its own, and no machine's own file in /etc plays a part."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(config_file, "STANDARD_PLACES", (Path("appliance.toml"), tmp_path / "etc.toml"))


def _load(text: str | bytes, environ: Mapping[str, str] | None = None) -> Loaded:
    file = Path("appliance.toml")
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(0o640)
    return load(None, environ or {})


def _fault(text: str | bytes, environ: Mapping[str, str] | None = None) -> str:
    """The one line that refuses ``text``."""
    with pytest.raises(ConfigurationError) as caught:
        _load(text, environ)
    message = str(caught.value)
    assert message.isprintable(), "one line, no control characters"
    assert caught.value.exit_code == 2
    return message


# The committed file


def test_committed_file_is_exactly_the_defaults() -> None:
    assert load(COMMITTED, {"APPLIANCE_DATA_DIR": "/d"}).config == Config(data_dir=Path("/d"))


def test_committed_file_names_every_key_once_in_its_section_with_a_comment() -> None:
    named: list[str] = []
    section, comment = "", False
    for line in COMMITTED.read_text().splitlines():
        if match := re.fullmatch(r"\[(\w+)\]", line):
            section = match[1]
        elif match := re.match(r"(?:# )?(\w+) = ", line):
            key = f"{section}.{match[1].removesuffix('_file')}".lstrip(".")
            assert comment or named[-1].startswith(f"{section}."), f"{key} has no comment above it"
            named.append(key)
        comment = line.startswith("# ") or (comment and bool(line))
    assert named == list(FIELDS)


def test_commented_examples_in_the_committed_file_are_valid() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", COMMITTED.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^\w+_file = .*", "", text, flags=re.MULTILINE)
    config = _load(text, {"APPLIANCE_BROKER_PASSWORD": STRONG, "APPLIANCE_MAIL_PASSWORD": STRONG}).config
    assert config.mail.host == "mail.example"
    assert config.broker.address() == ("broker.example", 1883)
    assert config.web.public_url == "https://appliance.example"
    assert config.subscriptions.plans == {"basic": 25, "pro": 200}


# Where it is found


def test_without_any_file_the_defaults_are_all_there_is() -> None:
    loaded = load(None, {})
    assert loaded.file is None
    assert loaded.config == Config()
    assert set(loaded.origins.values()) == {"default"}


def test_order_of_places() -> None:
    for number, name in enumerate(("etc.toml", "appliance.toml", "by_variable.toml", "by_option.toml"), start=1):
        Path(name).write_text(f"web.port = {number}")
    variable = {"APPLIANCE_CONFIG": "by_variable.toml"}
    assert load(Path("by_option.toml"), variable).config.web.port == 4
    assert load(None, variable).config.web.port == 3
    assert load(None, {}).config.web.port == 2
    Path("appliance.toml").unlink()
    assert load(None, {}).config.web.port == 1


def test_a_file_that_was_named_must_exist() -> None:
    Path("appliance.toml").write_text("")
    for path, environ in ((Path("gone.toml"), {}), (None, {"APPLIANCE_CONFIG": "gone.toml"})):
        with pytest.raises(ConfigurationError, match=r"^gone.toml: cannot read .*: No such file or directory$"):
            load(path, environ)
    with pytest.raises(ConfigurationError, match=r"^\$APPLIANCE_CONFIG: is empty"):
        load(None, {"APPLIANCE_CONFIG": ""})


def test_a_standard_place_that_cannot_be_read_is_not_passed_over() -> None:
    Path("appliance.toml").symlink_to("gone")
    with pytest.raises(ConfigurationError, match=r"^appliance.toml: cannot read"):
        load(None, {})
    Path("appliance.toml").unlink()
    Path("appliance.toml").mkdir()
    with pytest.raises(ConfigurationError, match=r"^appliance.toml: is a directory; name the file"):
        load(None, {})


def test_unreadable_file() -> None:
    # opens for anybody, root included, and fails on reading
    with pytest.raises(ConfigurationError, match=r"^/proc/self/mem: cannot read the configuration file: "):
        load(Path("/proc/self/mem"), {})


def test_empty_file_is_all_defaults() -> None:
    for text in ("", "\n", "# nothing\n", "[broker]\n"):
        assert _load(text).config.broker == Config().broker


def test_data_dir_default(tmp_path: Path) -> None:
    root = os.geteuid() == 0
    assert default_data_dir() == (Path("/var/lib/appliance") if root else tmp_path / "var")
    assert default_data_dir(Path("/etc/appliance/appliance.toml")) == Path("/var/lib/appliance")


def test_relative_paths_start_at_the_file_and_for_variables_here(tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "a.toml").write_text('data_dir = "../data"')
    (tmp_path / "link.toml").symlink_to(folder / "a.toml")
    assert load(folder / "a.toml", {}).config.data_dir == tmp_path / "data"
    assert load(Path("link.toml"), {}).config.data_dir == tmp_path.parent / "data"
    assert load(folder / "a.toml", {"APPLIANCE_DATA_DIR": "x"}).config.data_dir == tmp_path / "x"


# Faults in the file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\xef\xbb\xbfa = 1", "1: starts with a byte order mark"),
        (b"# x\nport = 1\rhost = 2", "2: a carriage return that ends no line"),
        (b"\n\ndata_dir = 'a\0'", "3: a NUL character"),
        (b"\n# \xe9\n", "2: not UTF-8 text"),
        (b"\xff\xfeb\0", "1: not UTF-8 text"),
        ('\n[web]\nhost = "abc', "3: not valid TOML: "),
        ('[web]\nport = 1\nport = 2\nhost = ""\n', "3: not valid TOML: Cannot overwrite a value"),
        ("[web]\n[log]\n[web]\n", "3: not valid TOML: Cannot declare"),
        ("\nx = 2026-02-30\n", "2: not valid TOML: "),
        ('\nx = "\\ud800"\n', "2: not valid TOML: "),
        ("a b = 1", "1: not valid TOML: "),
        ("x = " + "[" * 5000, "1: nested too deeply"),
        ("x = " + "9" * 5000, "1: not valid TOML: "),
    ],
)
def test_not_toml(text: str | bytes, message: str) -> None:
    assert _fault(text).startswith(f"appliance.toml:{message}")


def test_end_of_file_has_a_line_too() -> None:
    assert _fault("[web]\nport =\n\n\n") == "appliance.toml:2: not valid TOML: Invalid value (column 7)"
    assert _fault('[web]\nhost = """a\nb\n').startswith("appliance.toml:3: not valid TOML: ")


def test_a_huge_file_is_another_file() -> None:
    assert "larger than 1048576 bytes" in _fault("#" * 1_048_577)


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
    assert _fault(text).startswith(f"appliance.toml:{message}")


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
        ("broker.url = 'tcp://a'", "broker.url: must be mqtt://HOST or mqtt://HOST:PORT"),
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
    assert _fault(f"\n{text}").startswith(f"appliance.toml:{text.count(chr(10)) + 2}: {message}")


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
        ("retention.days = 401", "1: retention.days: rollup_days must be at least as many as retention.days"),
    ],
)
def test_faults_between_keys(text: str, message: str) -> None:
    assert _fault(text).startswith(f"appliance.toml:{message}")


@pytest.mark.parametrize(
    "text",
    [
        "broker.port = 0\nweb.port = 0",
        "broker.url = 'mqtt://b'\nweb.port = 1883",
        "web.port = 1883\nweb.host = '127.0.0.1'\nbroker.host = '192.0.2.1'",
        "ingest.batch_size = 100\ningest.receive_max = 200",
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
    _load(text)


# The environment


def test_environment_wins_and_is_typed() -> None:
    environ = {
        "APPLIANCE_DATA_DIR": "/data",
        "APPLIANCE_WEB_PORT": "81",
        "APPLIANCE_INGEST_REQUIRE_TOKEN": "False",
        "APPLIANCE_LIMITS_RATE": "2.5",
        "APPLIANCE_LOG_LEVEL": "debug",
        "PATH": "/bin",
    }
    loaded = _load("[web]\nport = 80\nhost = '::1'\n", environ)
    config = loaded.config
    assert (config.data_dir, config.web.port, config.limits.rate) == (Path("/data"), 81, 2.5)
    assert (config.ingest.require_token, config.log.level) == (False, "debug")
    assert loaded.origins["web.port"] == "$APPLIANCE_WEB_PORT"
    assert loaded.origins["web.host"] == "appliance.toml:3"
    assert loaded.origins["log.format"] == "default"


def test_every_key_has_a_variable() -> None:
    values = {field: load(None, {}).value(key) for key, field in FIELDS.items()}
    environ = {field.variable: _text(value) for field, value in values.items() if value is not None}
    environ["APPLIANCE_WEB_PUBLIC_URL"] = "http://a"
    environ["APPLIANCE_DATABASE_URL"] = "postgresql:///a"
    environ["APPLIANCE_BROKER_URL"] = "mqtt://a"
    environ["APPLIANCE_BROKER_USERNAME"] = "a"
    environ["APPLIANCE_BROKER_PASSWORD"] = STRONG
    environ |= {"APPLIANCE_MAIL_HOST": "m", "APPLIANCE_MAIL_USERNAME": "a", "APPLIANCE_MAIL_PASSWORD": STRONG}
    environ["APPLIANCE_DELIVERY_HEARTBEAT_URL"] = "https://watcher.example/a"
    environ |= {"APPLIANCE_MAIL_CA": "/ca.pem", "APPLIANCE_MAIL_SENDER": "a@b.example"}
    assert load(None, environ).origins == {key: f"${field.variable}" for key, field in FIELDS.items()}


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={number}" for name, number in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_lists_are_arrays_in_the_file_and_have_commas_in_the_environment() -> None:
    in_file = _load("[delivery]\nallow_networks = ['10.20.0.31/32', 'fd12::/64']\nallow_ports = [9443]").config.delivery
    assert (in_file.allow_networks, in_file.allow_ports) == (("10.20.0.31/32", "fd12::/64"), (9443,))
    environ = {
        "APPLIANCE_DELIVERY_ALLOW_NETWORKS": "10.0.0.0/8, 192.168.1.1,",
        "APPLIANCE_DELIVERY_ALLOW_PORTS": "81,82",
    }
    given = load(None, environ).config.delivery
    assert (given.allow_networks, given.allow_ports) == (("10.0.0.0/8", "192.168.1.1"), (81, 82))
    emptied = _load("[delivery]\nallow_ports = [9443]", {"APPLIANCE_DELIVERY_ALLOW_PORTS": ""}).config.delivery
    assert emptied.allow_ports == ()
    assert masked(_load("delivery.allow_ports = [1, 2]").config)["delivery.allow_ports"] == [1, 2]


@pytest.mark.parametrize(
    "text",
    [
        "[subscriptions]\nplans = { basic = 25, 'Pro 200' = 200 }\n",
        "[subscriptions.plans]\nbasic = 25\n'Pro 200' = 200\n",
        "subscriptions.plans.basic = 25\nsubscriptions.plans.'Pro 200' = 200\n",
    ],
)
def test_plans_are_a_table_in_the_file_and_pairs_with_commas_in_the_environment(text: str) -> None:
    plans = {"basic": 25, "Pro 200": 200}
    loaded = _load(text)
    assert loaded.config.subscriptions.plans == plans
    assert loaded.origins["subscriptions.plans"].startswith("appliance.toml:")
    assert masked(loaded.config)["subscriptions.plans"] == plans
    variable = {"APPLIANCE_SUBSCRIPTIONS_PLANS": " basic=25, Pro 200 = 200,"}
    assert load(None, variable).config.subscriptions.plans == plans
    assert load(None, variable).origins["subscriptions.plans"] == "$APPLIANCE_SUBSCRIPTIONS_PLANS"
    replaced = _load(text, {"APPLIANCE_SUBSCRIPTIONS_PLANS": "solo=1"}).config.subscriptions.plans
    assert replaced == {"solo": 1}, "the whole table, as of every other key"
    assert _load(text, {"APPLIANCE_SUBSCRIPTIONS_PLANS": ""}).config.subscriptions.plans == {}


def test_plans_are_not_without_end() -> None:
    many = "\n".join(f"p{number} = 1" for number in range(257))
    fault = _fault(f"[subscriptions.plans]\n{many}")
    assert fault == "appliance.toml:1: subscriptions.plans: has 257 entries, which are more than 256"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[plans]\npro = 5", "1: plans: unknown section; the nearest is subscriptions.plans"),
        ("[subscriptions.plan]\npro = 5", "1: subscriptions.plan: unknown key; the nearest is subscriptions.plans"),
        ("[[subscriptions.plans]]\npro = 5", "1: subscriptions.plans: must be a table of names, each with a whole"),
    ],
)
def test_plans_at_another_place_name_the_right_one(text: str, message: str) -> None:
    assert _fault(text).startswith(f"appliance.toml:{message}")


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("WEB_PROT", "1", "unknown variable; the nearest is $APPLIANCE_WEB_PORT"),
        ("WEB_PORT", "", "web.port: is empty; it must be a whole number from 0 to 65535, or not be set at all"),
        ("WEB_PORT", "\uff18\uff10", "web.port: must be a whole number from 0 to 65535, not "),
        ("LIMITS_RATE", "\uff15", "limits.rate: must be a number from 0.001 to 1e+06, not "),
        ("LIMITS_RATE", "1_0", "limits.rate: must be a number from 0.001 to 1e+06, not "),
        ("WEB_PORT", "80x", 'web.port: must be a whole number from 0 to 65535, not "80x"'),
        ("WEB_PORT", "9" * 30, "web.port: must be a whole number from 0 to 65535, not "),
        ("LIMITS_RATE", "nan", "limits.rate: must be a number from 0.001 to 1e+06, not nan"),
        ("LIMITS_RATE", "fast", 'limits.rate: must be a number from 0.001 to 1e+06, not "fast"'),
        ("INGEST_REQUIRE_TOKEN", "maybe", 'ingest.require_token: must be true or false, not "maybe"'),
        ("DELIVERY_ALLOW_PORTS", "81,x", 'delivery.allow_ports: its item "x" must be a whole number from 1 to 65535'),
        (
            "SUBSCRIPTIONS_PLANS",
            "pro",
            'subscriptions.plans: its item "pro" must be NAME=NUMBER, where NUMBER is a whole number',
        ),
        (
            "SUBSCRIPTIONS_PLANS",
            "basic=25,pro=0",
            "subscriptions.plans.pro: must be a whole number from 1 to 2147483647",
        ),
        (
            "SUBSCRIPTIONS_PLANS",
            "pro=many",
            'subscriptions.plans.pro: must be a whole number from 1 to 2147483647, not "ma',
        ),
        ("SUBSCRIPTIONS_PLANS", "pro=1,pro=2", "subscriptions.plans.pro: is given twice; keep one"),
        ("SUBSCRIPTIONS_PLANS", "=5", 'subscriptions.plans."": a name has 1 to 256 characters'),
        ("SUBSCRIPTIONS_PLANS", "a\udcffb=5", "subscriptions.plans."),
        ("SUBSCRIPTIONS_PLAN", "pro=5", "unknown variable; the nearest is $APPLIANCE_SUBSCRIPTIONS_PLANS"),
        ("DATA_DIR", "", "data_dir: is empty; it must be a path, or not be set at all"),
        ("DATABASE_URL", "", "database.url: is empty; it must be text, or not be set at all"),
        ("WEB_HOST", "a\udcffb", "web.host: must be a host name or an IP address"),
    ],
)
def test_faults_in_the_environment(variable: str, text: str, message: str) -> None:
    assert _fault("", {f"APPLIANCE_{variable}": text}).startswith(f"$APPLIANCE_{variable}: {message}")


def test_variables_that_orchestrators_set_by_themselves_are_left_alone() -> None:
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR")
    load(None, {f"APPLIANCE_{name}": "tcp://10.0.0.1:8080" for name in names})


def test_an_overridden_value_must_be_right_all_the_same() -> None:
    assert _fault("web.port = 'x'", {"APPLIANCE_WEB_PORT": "80"}).startswith("appliance.toml:1: web.port: ")


# Secrets


def _secret_file(text: str = f"{STRONG}\n", mode: int = 0o600) -> Path:
    path = Path("secret")
    path.write_text(text)
    path.chmod(mode)
    return path


BROKER = "broker.url = 'mqtt://b'\nbroker.username = 'me'\n"


def test_secrets_come_from_file_value_or_variable() -> None:
    _secret_file()
    for text, environ in (
        (BROKER + f"broker.password = '{STRONG}'", {}),
        (BROKER + "broker.password_file = 'secret'", {}),
        (BROKER, {"APPLIANCE_BROKER_PASSWORD": STRONG}),
        (BROKER, {"APPLIANCE_BROKER_PASSWORD_FILE": "secret"}),
        (BROKER + "broker.password_file = 'not there'", {"APPLIANCE_BROKER_PASSWORD": STRONG}),
    ):
        assert _load(text, environ).config.broker.password == Secret(STRONG)


def test_origin_of_a_secret_file() -> None:
    _secret_file()
    loaded = _load(BROKER + "broker.password_file = 'secret'")
    assert loaded.origins["broker.password"] == "appliance.toml:3 (secret file)"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_secret_file_that_others_may_read_is_refused_with_the_mend(mode: int, tmp_path: Path) -> None:
    _secret_file(mode=mode)
    Path("link").symlink_to("secret")
    for name in ("secret", "link"):
        fault = _fault(BROKER + f"broker.password_file = '{name}'")
        place = tmp_path / name
        assert fault == (
            f"appliance.toml:3: broker.password_file: others may read {place} (mode {mode:04o}); run: chmod 600 {place}"
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\n", "is empty"),
        ("one line of text\nand another\n", "must hold one line without control characters"),
        ("x" * 65_537, "is larger than 65536 bytes"),
    ],
)
def test_odd_secret_files(content: str, message: str) -> None:
    _secret_file(content)
    assert message in _fault(BROKER + "broker.password_file = 'secret'")


def test_a_secret_in_a_file_that_everybody_may_read_is_refused_with_the_mend() -> None:
    file = Path("appliance.toml")
    file.write_text(f"{BROKER}broker.password = '{STRONG}'\n")
    file.chmod(0o644)
    with pytest.raises(ConfigurationError) as caught:
        load(None, {})
    assert str(caught.value) == (
        "appliance.toml:3: broker.password: everybody may read appliance.toml (mode 0644); "
        "run: chmod o-r appliance.toml, or give broker.password_file"
    )
    file.chmod(0o640)
    assert load(None, {}).config.broker.password == Secret(STRONG)
    file.write_text("broker.port = 1884\n")
    file.chmod(0o644)
    assert load(None, {}).config.broker.port == 1884, "without a secret everybody may read it"


def test_a_secret_file_must_be_a_file() -> None:
    Path("folder").mkdir(mode=0o700)
    os.mkfifo("pipe", 0o600)
    text = BROKER + "broker.password_file = "
    assert "cannot read" in _fault(text + "'gone'")
    assert "is not a regular file" in _fault(text + "'folder'")
    assert "is not a regular file" in _fault(text + "'pipe'")
    assert "~ is not expanded" in _fault(text + "'~/secret'")
    assert "must be the path of a file" in _fault(text + "5")


def test_a_secret_is_given_once() -> None:
    _secret_file()
    both = BROKER + f"broker.password = '{STRONG}'\nbroker.password_file = 'secret'"
    assert (
        _fault(both)
        == "appliance.toml:4: broker.password_file: broker.password is set too (appliance.toml:3); keep one"
    )
    environ = {"APPLIANCE_BROKER_PASSWORD": STRONG, "APPLIANCE_BROKER_PASSWORD_FILE": "secret"}
    assert "is set too ($APPLIANCE_BROKER_PASSWORD); keep one" in _fault(BROKER, environ)


@pytest.mark.parametrize(
    "password", ["abc", "changeme", "ChangeMe1234", "passwordpassword", "aaaaaaaaaaaaaaaa", "11 letters."]
)
def test_weak_and_sample_secrets_are_refused_and_not_repeated(password: str) -> None:
    for fault in (
        _fault(BROKER, {"APPLIANCE_BROKER_PASSWORD": password}),
        _fault("", {"APPLIANCE_DATABASE_URL": f"postgresql://me:{password}@db/x"}),
        _fault("", {"APPLIANCE_DATABASE_URL": f"postgresql://me@db/x?password={password}"}),
    ):
        assert "sample" in fault or "too short" in fault
        assert password not in fault


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
    fault = _fault("", {"APPLIANCE_DATABASE_URL": url})
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


def test_a_password_in_the_broker_address_is_not_repeated() -> None:
    fault = _fault("broker.url = 'mqtt://me:thisisverysecret@b'")
    assert "have keys of their own" in fault
    assert "thisisverysecret" not in fault


def test_secrets_do_not_show_themselves() -> None:
    secret = Secret(STRONG)
    config = msgspec.structs.replace(Config(), broker=msgspec.structs.replace(Config().broker, password=secret))
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret]), repr(config)):
        assert STRONG not in text
    assert secret.reveal() == STRONG
    assert secret != Secret("other")
    assert secret != STRONG
    assert len({secret, Secret(STRONG)}) == 1


# Anything at all


def _refusal(content: bytes) -> str | None:
    try:
        _load(content)
    except ConfigurationError as error:
        return str(error)
    return None


@given(
    st.binary(max_size=200)
    | st.text(st.sampled_from("[]{}=.\"'\n#ab1 \\brokeprt\0\r\ufeff"), max_size=80).map(str.encode)
)
def test_any_file_is_a_configuration_or_one_line(content: bytes) -> None:
    assert (_refusal(content) or "").isprintable()


JSON_VALUES = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab\n .", max_size=3), inner, max_size=2),
    max_leaves=4,
)


def _toml(value: object) -> str:
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(sign):08x}" for sign in value) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml(name)} = {_toml(one)}" for name, one in value.items()) + "}"
    return repr(value).lower() if isinstance(value, bool) else repr(value)


@given(st.sampled_from(sorted(FIELDS)), JSON_VALUES)
def test_any_value_of_any_key_is_taken_or_refused_in_one_line_that_names_it(key: str, value: object) -> None:
    text = f"{key} = {_toml(value)}"
    tomllib.loads(text)
    refusal = _refusal(text.encode())
    assert refusal is None or (refusal.isprintable() and re.match(rf"appliance.toml:1: {key}(: |\.)", refusal))
