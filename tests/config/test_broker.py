"""The address of the broker, and the files of TLS that go with it."""

from pathlib import Path

import pytest

from appliance.config import load, warnings
from appliance.config.schema import FIELDS
from appliance.config.sources import FILE_SUFFIX
from appliance.config.values import is_secret
from tests.support.certificates import Authority
from tests.support.configuring import STRONG, fault_of, load_text

PASSWORD = "thisisverysecret"
TLS = "broker.url = 'mqtts://broker.example'\n"


@pytest.fixture
def files() -> dict[str, Path]:
    """Files of certificates in the present folder, by what they are."""
    authority = Authority()
    one, other = authority.certificate("one"), authority.certificate("other")
    contents = {
        "ca": authority.pem,
        "certificate": one.pem,
        "key": one.key_pem,
        "both": one.pem + one.key_pem,
        "foreign": other.key_pem,
        "text": "nothing",
    }
    found = {name: Path(f"{name}.pem").absolute() for name in contents}
    for name, path in found.items():
        path.write_text(contents[name])
        path.chmod(0o640)
    return found


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mqtt://b", "mqtt://b:1883"),
        ("mqtts://b", "mqtts://b:8883"),
        ("ws://b", "ws://b:80/mqtt"),
        ("wss://[::1]:8443/x", "wss://[::1]:8443/x"),
        ("unix:///run/mosquitto/mqtt.sock", "unix:///run/mosquitto/mqtt.sock"),
    ],
)
def test_every_way_to_a_broker_is_an_address(url: str, shown: str) -> None:
    config = load_text(f"broker.url = '{url}'").config
    assert config.broker.url == url
    assert str(config.broker.address()) == shown


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("tcp://b", "tcp:// is not a scheme that is known here; write mqtt://"),
        ("ssl://b:8883", "ssl:// is not a scheme that is known here; write mqtts://"),
        ("b:1883", "must be mqtt://HOST[:PORT], mqtts://HOST[:PORT], ws://"),
        ("mqtt://b/path", "has a path or a query, which only ws:// and wss:// have; write mqtt://HOST:PORT"),
        ("unix://run/x", "has no path of a socket; write three slashes"),
        ("wss://b/mqtt?token=x", "has a query, which may hold a token, and the address is shown on pages and in logs"),
    ],
)
def test_an_address_that_cannot_be_is_refused_with_what_to_write(url: str, message: str) -> None:
    assert fault_of(f"broker.url = '{url}'").startswith(f"appliance.toml:1: broker.url: {message}")
    assert fault_of("", {"APPLIANCE_BROKER_URL": url}).startswith(f"$APPLIANCE_BROKER_URL: broker.url: {message}")


@pytest.mark.parametrize(
    "url",
    [f"mqtt://me:{PASSWORD}@b", f"mqtts://me:{PASSWORD}/@b", f"me:{PASSWORD}@b", f"wss://b/mqtt?password={PASSWORD}"],
)
def test_a_password_in_the_address_is_refused_for_keys_of_its_own_and_not_repeated(url: str) -> None:
    fault = fault_of(f"broker.url = '{url}'")
    assert "broker.username and broker.password" in fault
    assert PASSWORD not in fault


def test_files_of_tls_are_taken_with_an_address_under_tls(files: dict[str, Path]) -> None:
    keys = "ca_file = 'ca.pem'\nclient_certificate_file = 'certificate.pem'\nclient_key_file = 'key.pem'\n"
    for url in ("mqtts://b", "wss://b"):
        broker = load_text(f"[broker]\nurl = '{url}'\n{keys}").config.broker
        found = broker.tls_files()
        assert (found.ca_file, found.certificate_file, found.key_file) == (
            files["ca"],
            files["certificate"],
            files["key"],
        )
    load_text(TLS + "broker.client_certificate_file = 'both.pem'")
    environ = {"APPLIANCE_BROKER_URL": "mqtts://b", "APPLIANCE_BROKER_CA_FILE": "ca.pem"}
    assert load(None, environ).config.broker.ca_file == files["ca"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "broker.ca_file = 'ca.pem'",
            "1: broker.ca_file: is for an external broker under TLS; write mqtts:// or wss://",
        ),
        (
            "broker.url = 'mqtt://b'\nbroker.ca_file = 'ca.pem'",
            "2: broker.ca_file: is for an external broker under TLS",
        ),
        (
            "broker.url = 'unix:///x'\nbroker.client_key_file = 'key.pem'",
            "2: broker.client_key_file: is for an external",
        ),
        (
            TLS + "broker.client_key_file = 'key.pem'",
            "2: broker.client_key_file: needs broker.client_certificate_file too",
        ),
        (TLS + "broker.ca_file = 'gone.pem'", "2: broker.ca_file: cannot read {}/gone.pem: No such file or directory"),
        (TLS + "broker.ca_file = '.'", "2: broker.ca_file: {} is not a regular file"),
        (TLS + "broker.ca_file = 'text.pem'", "2: broker.ca_file: {}/text.pem holds no certificate in PEM"),
        (
            TLS + "broker.client_certificate_file = 'certificate.pem'",
            "2: broker.client_certificate_file: {}/certificate.pem holds no private key in PEM: -----BEGIN PRIVATE",
        ),
        (
            TLS + "broker.client_certificate_file = 'certificate.pem'\nbroker.client_key_file = 'foreign.pem'",
            "3: broker.client_key_file: {}/foreign.pem is not the key of the certificate in {}/certificate.pem",
        ),
        (TLS + "broker.ca_file = 3", "2: broker.ca_file: must be a path, not a whole number"),
    ],
)
@pytest.mark.usefixtures("files")
def test_files_of_tls_that_cannot_be_used_are_named_with_what_to_do(text: str, message: str) -> None:
    assert fault_of(text).startswith(f"appliance.toml:{message.replace('{}', str(Path.cwd()))}")


@pytest.mark.parametrize("name", ["key", "both"])
def test_a_key_that_everybody_may_read_is_refused(files: dict[str, Path], name: str) -> None:
    text = TLS + "broker.client_certificate_file = 'both.pem'"
    key = "broker.client_certificate_file"
    if name == "key":
        text, key = (
            text.replace("both", "certificate") + "\nbroker.client_key_file = 'key.pem'",
            "broker.client_key_file",
        )
    load_text(text)
    files[name].chmod(0o644)
    fault = fault_of(text)
    assert f"{key}: holds a private key, and everybody may use {files[name]} (mode 0644); run: chmod o-rw " in fault


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("mqtt://broker.example", True),
        ("ws://10.0.0.1/mqtt", True),
        ("mqtts://broker.example", False),
        ("wss://broker.example", False),
        ("mqtt://localhost", False),
        ("mqtt://127.0.0.2", False),
        ("ws://[::1]", False),
        ("unix:///run/mqtt.sock", False),
    ],
)
def test_a_password_in_clear_text_to_another_machine_is_a_warning(url: str, warned: bool) -> None:
    for password in (f"broker.password = '{STRONG}'", ""):
        config = load_text(f"broker.url = '{url}'\nbroker.username = 'me'\n{password}").config
        found = [message for key, message in warnings(config) if key == "broker.url"]
        assert bool(found) == (warned and bool(password))
        assert all("use mqtts:// or wss://" in message for message in found)


def test_no_key_is_called_like_the_file_of_a_secret() -> None:
    assert not {key + FILE_SUFFIX for key, field in FIELDS.items() if is_secret(field.type)} & set(FIELDS)
