"""The compose files are valid, lock the container down, and set only what the configuration has."""

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from appliance.children.mosquitto_files import BrokerLimits
from appliance.children.postgres_files import Memory
from appliance.config import FIELDS, Config, load
from tests.image.dockerfile import read_dockerfile
from tests.image.plain_yaml import read
from tests.support.project import ROOT

FILES = ("compose.yaml", "compose.external.yaml")
SECRETS = "/run/secrets/"
WORD, TEXT, SIZE = {"type": "string", "pattern": r"^[a-z0-9][a-z0-9_.-]*$"}, {"type": "string"}, r"^[0-9]+[kmg]$"
TEXTS = {"type": "array", "items": TEXT, "minItems": 1, "uniqueItems": True}
SERVICE = {
    "build": TEXT,
    "image": WORD,
    "hostname": {"type": "string", "pattern": r"^[a-z][a-z0-9-]{0,62}$"},
    "restart": {"enum": ["no", "always", "unless-stopped", "on-failure"]},
    "stop_grace_period": {"type": "string", "pattern": r"^[0-9]+s$"},
    "ports": {**TEXTS, "items": {"type": "string", "pattern": r"^[0-9]{1,5}:[0-9]{1,5}(/(tcp|udp))?$"}},
    "environment": {"type": "object", "additionalProperties": TEXT},
    "volumes": {**TEXTS, "items": {"type": "string", "pattern": r"^[a-z-]+:/[a-z/]+$"}},
    "secrets": {**TEXTS, "items": WORD},
    "read_only": {"type": "boolean"},
    "tmpfs": {**TEXTS, "items": {"type": "string", "pattern": r"^/[a-z/]+:[a-z0-9=]+(,[a-z0-9=]+)*$"}},
    "cap_drop": TEXTS,
    "security_opt": TEXTS,
    "mem_limit": {"type": "string", "pattern": SIZE},
    "shm_size": {"type": "string", "pattern": SIZE},
    "cpus": {"type": "string", "pattern": r"^[0-9]+\.[0-9]+$"},
    "pids_limit": {"type": "integer", "minimum": 1},
    "ulimits": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1}},
    "logging": {
        "type": "object",
        "properties": {"driver": WORD, "options": {"type": "object", "additionalProperties": TEXT}},
        "required": ["driver", "options"],
        "additionalProperties": False,
    },
}
"""The attributes of a service that we use, as the Compose Specification has them, and narrower where it takes more."""
LOCKS = {"read_only", "tmpfs", "cap_drop", "security_opt", "mem_limit", "cpus", "pids_limit", "ulimits", "logging"}
COMPOSE = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "pattern": r"^[a-z0-9][a-z0-9_-]*$"},
        "services": {
            "type": "object",
            "properties": {
                "appliance": {
                    "type": "object",
                    "properties": SERVICE,
                    "required": ["image", "restart", "stop_grace_period", "ports", "volumes", *sorted(LOCKS)],
                    "additionalProperties": False,
                }
            },
            "required": ["appliance"],
            "additionalProperties": False,
        },
        "secrets": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "properties": {"file": TEXT},
                "required": ["file"],
                "additionalProperties": False,
            },
        },
        "volumes": {"type": "object", "additionalProperties": {"type": "null"}},
    },
    "required": ["name", "services", "volumes"],
    "additionalProperties": False,
}
UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}


def _document(name: str) -> dict[str, Any]:
    document: dict[str, Any] = read((ROOT / name).read_text())
    return document


def _service(name: str) -> dict[str, Any]:
    service: dict[str, Any] = _document(name)["services"]["appliance"]
    return service


def _bytes(size: str) -> int:
    return int(size[:-1]) * UNITS[size[-1]]


def _configuration(name: str, folder: Path) -> Config:
    """Return the configuration that the appliance will find, with secret files of their kind in ``folder``."""
    contents = {"database-url": "postgresql://appliance:a-walrus-on-a-bicycle@db.example/appliance?sslmode=verify-full"}
    environ = dict(_service(name).get("environment", {}))
    for variable, value in environ.items():
        if value.startswith(SECRETS):
            secret = folder / value.removeprefix(SECRETS)
            secret.write_text(contents.get(secret.name, "a walrus on a bicycle") + "\n")
            secret.chmod(0o600)
            environ[variable] = str(secret)
    (folder / "appliance.toml").touch()  # so that no other one is found
    image = {key: value for key, value in read_dockerfile()[-1].pairs("ENV").items() if key.startswith("APPLIANCE_")}
    return load(folder / "appliance.toml", image | environ).config


@pytest.mark.parametrize("name", FILES)
def test_it_is_valid(name: str) -> None:
    jsonschema.validate(_document(name), COMPOSE)


@pytest.mark.parametrize("name", FILES)
def test_every_variable_is_a_key_of_the_configuration(name: str) -> None:
    known = {field.variable for field in FIELDS.values()}
    known |= {f"{variable}_FILE" for variable in known}
    text = (ROOT / name).read_text()
    assert set(re.findall(r"APPLIANCE_[A-Z_]+", text)) <= known
    assert set(_service(name).get("environment", {})) <= known


@pytest.mark.parametrize("name", FILES)
def test_the_appliance_takes_its_settings(name: str, tmp_path: Path) -> None:
    config = _configuration(name, tmp_path)
    external = name == "compose.external.yaml"
    assert (config.database.url is not None, config.broker.url is not None) == (external, external)
    assert str(config.data_dir) == read_dockerfile()[-1].only("VOLUME")


@pytest.mark.parametrize("name", FILES)
def test_its_ports_are_those_that_the_appliance_opens(name: str, tmp_path: Path) -> None:
    config = _configuration(name, tmp_path)
    opened = [config.web.port]
    if config.broker.url is None:
        assert config.broker.tls_port is not None
        opened += [config.broker.port, config.broker.tls_port]
    assert _service(name)["ports"] == [f"{port}:{port}" for port in opened]
    assert {str(port) for port in opened} <= set(read_dockerfile()[-1].only("EXPOSE").split())


@pytest.mark.parametrize("name", FILES)
def test_it_may_write_to_its_volume_and_a_small_tmp_alone(name: str) -> None:
    service = _service(name)
    assert service["read_only"] is True
    [volume] = service["volumes"]
    assert volume.partition(":")[2] == read_dockerfile()[-1].only("VOLUME")
    [tmp] = service["tmpfs"]
    path, _, options = tmp.partition(":")
    assert path == "/tmp"
    assert {"mode=1777", "size=64m", "noexec", "nosuid", "nodev"} == set(options.split(","))


@pytest.mark.parametrize("name", FILES)
def test_it_has_no_rights(name: str) -> None:
    service = _service(name)
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", FILES)
def test_memory_files_and_log_have_limits_that_suffice(name: str) -> None:
    service = _service(name)
    needed = 256 * UNITS["m"]  # of our own process
    if name == "compose.yaml":
        memory = Memory()
        sessions = memory.max_connections * memory.work_mem
        needed += (
            BrokerLimits().memory_bytes + (memory.shared_buffers + memory.maintenance_work_mem + sessions) * UNITS["m"]
        )
    assert _bytes(service["mem_limit"]) >= needed
    assert service["ulimits"]["nofile"] >= 4 * BrokerLimits().max_connections
    assert service["logging"]["driver"] == "json-file"
    options = service["logging"]["options"]
    assert _bytes(options["max-size"]) * int(options["max-file"]) <= 64 * UNITS["m"]


@pytest.mark.parametrize("name", FILES)
def test_what_it_declares_is_used_and_what_it_uses_is_declared(name: str) -> None:
    document, service = _document(name), _service(name)
    assert {volume.partition(":")[0] for volume in service["volumes"]} == set(document["volumes"])
    declared = set(document.get("secrets", {}))
    assert declared == set(service.get("secrets", []))
    values = service["environment"].values()
    assert declared == {value.removeprefix(SECRETS) for value in values if value.startswith(SECRETS)}


def test_both_lock_the_container_in_the_same_way() -> None:
    first, second = map(_service, FILES)
    same = (LOCKS | {"build", "image", "hostname", "restart", "stop_grace_period"}) - {"mem_limit", "pids_limit"}
    assert {key: first[key] for key in same} == {key: second[key] for key in same}


def test_secrets_never_become_part_of_the_repository() -> None:
    files = [secret["file"] for secret in _document("compose.external.yaml")["secrets"].values()]
    assert all(file.startswith("./secrets/") for file in files)
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
