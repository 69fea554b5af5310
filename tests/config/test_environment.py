"""Each key as a variable of the environment."""

from pathlib import Path

import pytest

from appliance.config import FIELDS, load, masked
from tests.support.certificates import Authority
from tests.support.configuring import STRONG, fault_of, load_text


def test_environment_wins_and_is_typed() -> None:
    environ = {
        "APPLIANCE_DATA_DIR": "/data",
        "APPLIANCE_WEB_PORT": "81",
        "APPLIANCE_INGEST_REQUIRE_TOKEN": "False",
        "APPLIANCE_LIMITS_RATE": "2.5",
        "APPLIANCE_LOG_LEVEL": "debug",
        "PATH": "/bin",
    }
    loaded = load_text("[web]\nport = 80\nhost = '::1'\n", environ)
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
    environ["APPLIANCE_BROKER_URL"] = "mqtts://a"
    certificate, key = Authority().certificate("a").files(Path.cwd())
    key.chmod(0o600)
    environ |= {
        "APPLIANCE_BROKER_CA_FILE": str(certificate),
        "APPLIANCE_BROKER_CLIENT_CERTIFICATE_FILE": str(certificate),
    }
    environ["APPLIANCE_BROKER_CLIENT_KEY_FILE"] = str(key)
    environ["APPLIANCE_BROKER_USERNAME"] = "a"
    environ["APPLIANCE_BROKER_PASSWORD"] = STRONG
    environ |= {"APPLIANCE_BACKUP_FOLDER": "/b", "APPLIANCE_BACKUP_PASSPHRASE": STRONG}
    environ |= {"APPLIANCE_MAIL_HOST": "m", "APPLIANCE_MAIL_USERNAME": "a", "APPLIANCE_MAIL_PASSWORD": STRONG}
    environ["APPLIANCE_DELIVERY_HEARTBEAT_URL"] = "https://watcher.example/a"
    environ |= {"APPLIANCE_MAIL_CA": "/ca.pem", "APPLIANCE_MAIL_SENDER": "a@b.example"}
    environ |= {"APPLIANCE_WEB_TLS": "true", "APPLIANCE_BROKER_TLS_PORT": "8883"}
    environ |= {"APPLIANCE_WEB_CERTIFICATE_FILE": str(certificate), "APPLIANCE_WEB_KEY_FILE": str(key)}
    own = {"APPLIANCE_BROKER_CERTIFICATE_FILE": str(certificate), "APPLIANCE_BROKER_KEY_FILE": str(key)}
    origins = load(None, environ).origins
    embedded = load(None, {"APPLIANCE_BROKER_TLS_PORT": "8883"} | own).origins
    assert {key: origins[key] for key in FIELDS if FIELDS[key].variable not in own} == {
        key: f"${field.variable}" for key, field in FIELDS.items() if field.variable not in own
    }
    assert {FIELDS[key].variable for key in FIELDS if embedded[key].startswith("$")} == {
        "APPLIANCE_BROKER_TLS_PORT",
        *own,
    }


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={number}" for name, number in value.items())
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def test_lists_are_arrays_in_the_file_and_have_commas_in_the_environment() -> None:
    in_file = load_text(
        "[delivery]\nallow_networks = ['10.20.0.31/32', 'fd12::/64']\nallow_ports = [9443]"
    ).config.delivery
    assert (in_file.allow_networks, in_file.allow_ports) == (("10.20.0.31/32", "fd12::/64"), (9443,))
    environ = {
        "APPLIANCE_DELIVERY_ALLOW_NETWORKS": "10.0.0.0/8, 192.168.1.1,",
        "APPLIANCE_DELIVERY_ALLOW_PORTS": "81,82",
    }
    given = load(None, environ).config.delivery
    assert (given.allow_networks, given.allow_ports) == (("10.0.0.0/8", "192.168.1.1"), (81, 82))
    emptied = load_text("[delivery]\nallow_ports = [9443]", {"APPLIANCE_DELIVERY_ALLOW_PORTS": ""}).config.delivery
    assert emptied.allow_ports == ()
    assert masked(load_text("delivery.allow_ports = [1, 2]").config)["delivery.allow_ports"] == [1, 2]


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
    loaded = load_text(text)
    assert loaded.config.subscriptions.plans == plans
    assert loaded.origins["subscriptions.plans"].startswith("appliance.toml:")
    assert masked(loaded.config)["subscriptions.plans"] == plans
    variable = {"APPLIANCE_SUBSCRIPTIONS_PLANS": " basic=25, Pro 200 = 200,"}
    assert load(None, variable).config.subscriptions.plans == plans
    assert load(None, variable).origins["subscriptions.plans"] == "$APPLIANCE_SUBSCRIPTIONS_PLANS"
    replaced = load_text(text, {"APPLIANCE_SUBSCRIPTIONS_PLANS": "solo=1"}).config.subscriptions.plans
    assert replaced == {"solo": 1}, "the whole table, as of every other key"
    assert load_text(text, {"APPLIANCE_SUBSCRIPTIONS_PLANS": ""}).config.subscriptions.plans == {}


def test_plans_are_not_without_end() -> None:
    many = "\n".join(f"p{number} = 1" for number in range(257))
    fault = fault_of(f"[subscriptions.plans]\n{many}")
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
    assert fault_of(text).startswith(f"appliance.toml:{message}")


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
    assert fault_of("", {f"APPLIANCE_{variable}": text}).startswith(f"$APPLIANCE_{variable}: {message}")


def test_variables_that_orchestrators_set_by_themselves_are_left_alone() -> None:
    names = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR")
    load(None, {f"APPLIANCE_{name}": "tcp://10.0.0.1:8080" for name in names})


def test_an_overridden_value_must_be_right_all_the_same() -> None:
    assert fault_of("web.port = 'x'", {"APPLIANCE_WEB_PORT": "80"}).startswith("appliance.toml:1: web.port: ")
