"""The configuration: complete defaults, where it is found, and whatever its file may hold."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.config import FIELDS, Config, default_data_dir, load
from appliance.errors import ConfigurationError
from tests.support.configuring import STRONG, fault_of, load_text
from tests.support.project import ROOT

COMMITTED = ROOT / "appliance.toml"


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
            key = f"{section}.{match[1]}".lstrip(".")
            key = key if key in FIELDS else key.removesuffix("_file")
            assert comment or named[-1].startswith(f"{section}."), f"{key} has no comment above it"
            named.append(key)
        comment = line.startswith("# ") or (comment and bool(line))
    assert named == list(FIELDS)


def test_commented_examples_in_the_committed_file_are_valid() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", COMMITTED.read_text(), flags=re.MULTILINE)
    text = re.sub(r"^\w+_file = .*", "", text, flags=re.MULTILINE)
    secrets = dict.fromkeys(("BROKER_PASSWORD", "MAIL_PASSWORD", "BACKUP_PASSPHRASE"), STRONG)
    config = load_text(text, {f"APPLIANCE_{name}": value for name, value in secrets.items()}).config
    assert config.mail.host == "mail.example"
    assert str(config.broker.address()) == "mqtt://broker.example:1883"
    assert config.web.public_url == "https://appliance.example"
    assert config.backup.folder == Path("/mnt/backups")
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
        assert load_text(text).config.broker == Config().broker


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
    assert fault_of(text).startswith(f"appliance.toml:{message}")


def test_end_of_file_has_a_line_too() -> None:
    assert fault_of("[web]\nport =\n\n\n") == "appliance.toml:2: not valid TOML: Invalid value (column 7)"
    assert fault_of('[web]\nhost = """a\nb\n').startswith("appliance.toml:3: not valid TOML: ")


def test_a_huge_file_is_another_file() -> None:
    assert "larger than 1048576 bytes" in fault_of("#" * 1_048_577)


def _refusal(content: bytes) -> str | None:
    try:
        load_text(content)
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
