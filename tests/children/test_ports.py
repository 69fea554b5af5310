"""A taken port names its owner."""

import os
import socket

from appliance.children.ports import PortOwner, free_port, is_free, port_owner


def test_a_taken_port_names_pid_and_command() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not is_free("127.0.0.1", port)
        assert not is_free("0.0.0.0", port)
        owner = port_owner(port)
        assert owner.pid == os.getpid()
        assert f"(pid {os.getpid()})" in owner.describe()
    assert is_free("127.0.0.1", port)
    assert port_owner(port) == PortOwner(None, None, None)


def test_a_free_port_is_found() -> None:
    assert is_free("127.0.0.1", free_port("127.0.0.1"))


def test_an_owner_that_only_root_could_name_is_told_by_what_is_known() -> None:
    assert PortOwner(None, None, "mosquitto").describe() == "a process of the user mosquitto"
    assert PortOwner(None, None, None).describe() == "another process"
