"""What the trial of the image looks for, it finds."""

import json
import os
import socket
from pathlib import Path

import pytest

from appliance.sbom import debian_packages
from appliance.sbom.cyclonedx import document
from tests.image import content

MB = 1_000_000


def test_programs_with_the_rights_of_others_are_found(tmp_path: Path) -> None:
    for name, mode in {"plain": 0o755, "user": 0o4755, "group": 0o2755}.items():
        (tmp_path / name).touch()
        (tmp_path / name).chmod(mode)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder").chmod(0o2755)
    assert sorted(content.with_other_rights(tmp_path)) == ["group", "user"]


def test_compilers_are_found_even_as_dangling_links(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/gcc").symlink_to("gcc-12")
    (tmp_path / "usr/bin/gcov").touch()
    assert content.compilers(tmp_path) == ["usr/bin/gcc"]


def test_private_keys_are_found_and_text_about_them_is_not(tmp_path: Path) -> None:
    key = "-----BEGIN {}PRIVATE KEY-----"
    texts = {"pkcs8": key.format(""), "ec": f"x\n{key.format('EC ')}\ny", "code": f"BEGIN = b'{key.format('RSA ')}'"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert sorted(content.private_keys(tmp_path)) == ["ec", "pkcs8"]


def test_secrets_are_found_by_their_names_and_in_addresses_that_a_build_wrote(tmp_path: Path) -> None:
    texts = {
        "root/.netrc": "",
        "etc/sources": "deb https://kim:long-password@mirror.example/debian\n",
        "usr/lib/example.py": "postgresql://user:password@host/x",
        "etc/plain": "https://mirror.example/a:b@c",
        "var/template": "amqp://{user}:{password}@host",
        "opt/comment": "# postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert sorted(content.secrets(tmp_path)) == ["etc/sources", "root/.netrc"]


def test_a_bill_of_materials_that_lacks_a_package_is_found(tmp_path: Path) -> None:
    (tmp_path / "usr/share/appliance").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg").mkdir(parents=True)
    status = "Package: {}\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n"
    (tmp_path / debian_packages.STATUS).write_text(status.format("a"))
    bill = json.dumps(document(tmp_path))
    (tmp_path / "usr/share/appliance/sbom.cdx.json").write_text(bill)
    assert content.bill_of_materials(tmp_path)["of Debian without hash"] >= 1
    (tmp_path / debian_packages.STATUS).write_text(status.format("a") + "\n" + status.format("b"))
    with pytest.raises(SystemExit, match="b"):
        content.bill_of_materials(tmp_path)


def test_the_size_above_the_base_counts_what_is_new_or_other(tmp_path: Path) -> None:
    for folder, sizes in {"base": {"a": 1, "b": 1}, "image": {"a": 1, "b": 2, "c": 4}}.items():
        (tmp_path / folder).mkdir()
        for name, size in sizes.items():
            (tmp_path / folder / name).touch()
            os.truncate(tmp_path / folder / name, size * MB)
    assert content.size(tmp_path / "image", None) == "7 MB"
    assert content.size(tmp_path / "image", tmp_path / "base") == "7 MB, 6 MB of them above its base"


def test_ports_that_others_reach_are_told_from_those_of_the_loopback() -> None:
    with socket.socket() as outside, socket.socket() as inside, socket.socket(socket.AF_INET6) as newer:
        ports = []
        for listener, host in ((outside, "0.0.0.0"), (inside, "127.0.0.1"), (newer, "::1")):
            listener.bind((host, 0))
            listener.listen()
            ports.append(listener.getsockname()[1])
        assert content.listening() & set(ports) == {ports[0]}


def test_memory_is_that_of_the_process() -> None:
    assert content.memory(Path("/proc/self")) > MB
    assert content.memory(Path("/proc/self/none")) == 0
