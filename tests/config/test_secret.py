"""Secrets: where they come from, which are refused, and that they do not show themselves."""

import os
from pathlib import Path

import msgspec
import pytest

from appliance.config import Config, Secret, load
from appliance.config.secret import is_open_to_others
from appliance.errors import ConfigurationError
from tests.support.configuring import STRONG, fault_of, load_text


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
        assert load_text(text, environ).config.broker.password == Secret(STRONG)


def test_origin_of_a_secret_file() -> None:
    _secret_file()
    loaded = load_text(BROKER + "broker.password_file = 'secret'")
    assert loaded.origins["broker.password"] == "appliance.toml:3 (secret file)"


@pytest.mark.parametrize(
    ("mode", "owner", "reader", "open_to_others"),
    [
        (0o600, 10001, 10001, False),
        (0o400, 0, 0, False),
        (0o440, 0, 10001, False),
        (0o640, 0, 10001, False),
        (0o640, 10001, 10001, True),
        (0o640, 0, 0, True),
        (0o660, 0, 10001, True),
        (0o444, 0, 10001, True),
    ],
)
def test_of_a_file_of_root_its_group_may_read(mode: int, owner: int, reader: int, open_to_others: bool) -> None:
    assert is_open_to_others(mode, owner=owner, reader=reader) is open_to_others


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o610])
def test_a_secret_file_that_others_may_read_is_refused_with_the_mend(mode: int, tmp_path: Path) -> None:
    _secret_file(mode=mode)
    Path("link").symlink_to("secret")
    for name in ("secret", "link"):
        fault = fault_of(BROKER + f"broker.password_file = '{name}'")
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
    assert message in fault_of(BROKER + "broker.password_file = 'secret'")


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
    assert "cannot read" in fault_of(text + "'gone'")
    assert "is not a regular file" in fault_of(text + "'folder'")
    assert "is not a regular file" in fault_of(text + "'pipe'")
    assert "~ is not expanded" in fault_of(text + "'~/secret'")
    assert "must be the path of a file" in fault_of(text + "5")


def test_a_secret_is_given_once() -> None:
    _secret_file()
    both = BROKER + f"broker.password = '{STRONG}'\nbroker.password_file = 'secret'"
    assert (
        fault_of(both)
        == "appliance.toml:4: broker.password_file: broker.password is set too (appliance.toml:3); keep one"
    )
    environ = {"APPLIANCE_BROKER_PASSWORD": STRONG, "APPLIANCE_BROKER_PASSWORD_FILE": "secret"}
    assert "is set too ($APPLIANCE_BROKER_PASSWORD); keep one" in fault_of(BROKER, environ)


@pytest.mark.parametrize(
    "password", ["abc", "changeme", "ChangeMe1234", "passwordpassword", "aaaaaaaaaaaaaaaa", "11 letters."]
)
def test_weak_and_sample_secrets_are_refused_and_not_repeated(password: str) -> None:
    for fault in (
        fault_of(BROKER, {"APPLIANCE_BROKER_PASSWORD": password}),
        fault_of("", {"APPLIANCE_DATABASE_URL": f"postgresql://me:{password}@db/x"}),
        fault_of("", {"APPLIANCE_DATABASE_URL": f"postgresql://me@db/x?password={password}"}),
    ):
        assert "sample" in fault or "too short" in fault
        assert password not in fault


def test_secrets_do_not_show_themselves() -> None:
    secret = Secret(STRONG)
    config = msgspec.structs.replace(Config(), broker=msgspec.structs.replace(Config().broker, password=secret))
    for text in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret]), repr(config)):
        assert STRONG not in text
    assert secret.reveal() == STRONG
    assert secret != Secret("other")
    assert secret != STRONG
    assert len({secret, Secret(STRONG)}) == 1
