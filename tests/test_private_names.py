"""The private names of libraries that the appliance uses: each is listed here, and still exists.

A private name may go with any release. A library whose private names are used has its minor version fixed in
``pyproject.toml``; when the pin is moved, this test tells which of its names are gone.
"""

import ast
import importlib
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.project import ROOT


class Use(NamedTuple):
    """Names of one module or class of a library, and the file that uses them."""

    owner: str
    user: str
    names: frozenset[str]


def _use(owner: str, user: str, *names: str) -> Use:
    return Use(owner, user, frozenset(names))


TRIO_PSYCOPG = "appliance/db/trio_psycopg/connection.py"
TRIO_PSYCOPG_BLOCKS = "appliance/db/trio_psycopg/blocks.py"
TRIO_PSYCOPG_CURSORS = "appliance/db/trio_psycopg/cursors.py"
TRIO_PSYCOPG_DRIVEN = "appliance/db/trio_psycopg/driven.py"
HTTP_SERVER = "appliance/web/http/server.py"

USES = (
    _use(
        "psycopg._conninfo_utils",
        "appliance/db/trio_psycopg/addresses.py",
        "get_param",
        "get_param_def",
        "is_ip_address",
        "split_attempts",
    ),
    _use("psycopg._capabilities", "appliance/db/trio_psycopg/wire.py", "capabilities"),
    _use("psycopg._enums", "appliance/db/trio_psycopg/wire.py", "Ready", "Wait"),
    _use("psycopg.errors", TRIO_PSYCOPG_DRIVEN, "_WaitTimeout"),
    _use("psycopg.AsyncCopy", TRIO_PSYCOPG_CURSORS, "_direction", "_finished", "_pgconn"),
    _use(
        "psycopg.AsyncCursor",
        TRIO_PSYCOPG_CURSORS,
        "_close",
        "_conn",
        "_make_row",
        "_pgconn",
        "_results",
        "_select_current_result",
        "_start_copy_gen",
        "_stream_fetchone_gen",
        "_stream_send_gen",
        "_tx",
    ),
    _use("psycopg.AsyncServerCursor", TRIO_PSYCOPG_CURSORS, "_close_gen"),
    _use("psycopg.AsyncPipeline", TRIO_PSYCOPG_BLOCKS, "_conn", "_exit", "_exit_gen", "_lock"),
    _use("psycopg.AsyncPipeline", TRIO_PSYCOPG_DRIVEN, "_sync_gen"),
    _use(
        "psycopg.AsyncTransaction",
        TRIO_PSYCOPG_BLOCKS,
        "_check_enter",
        "_conn",
        "_enter_gen",
        "_exit_gen",
        "_outer_transaction",
    ),
    _use("psycopg.AsyncConnection", TRIO_PSYCOPG_DRIVEN, "_pipeline"),
    _use(
        "psycopg.AsyncConnection",
        TRIO_PSYCOPG,
        "_adapters",
        "_autocommit",
        "_check_connection_ok",
        "_closed",
        "_commit_gen",
        "_connect_gen",
        "_get_connection_params",
        "_notifies_backlog",
        "_notify_handlers",
        "_pipeline",
        "_pipeline_nolock",
        "_rollback_gen",
        "_should_cancel",
        "_try_cancel",
    ),
    _use(
        "hypercorn.protocol.h11.H11Protocol",
        HTTP_SERVER,
        "_check_protocol",
        "_close_stream",
        "_create_stream",
        "_send_h11_event",
    ),
    # Without an underscore, but in no documentation: idle_task, protocol_send, terminated.
    _use(
        "hypercorn.trio.tcp_server.TCPServer",
        HTTP_SERVER,
        "_close",
        "_idle_timeout",
        "_read_data",
        "_task_group",
        "idle_task",
        "protocol_send",
    ),
    _use("hypercorn.trio.worker_context.WorkerContext", HTTP_SERVER, "terminated"),
    _use(
        "trio_websocket.WebSocketConnection",
        "appliance/mqtt/transport/websocket_bounds.py",
        "_message_parts",
        "_recv_channel",
    ),
    _use("werkzeug.routing.Rule", "appliance/web/openapi/document.py", "_converters"),
)
PUBLIC = {"_exit", "_replace"}
"""Documented in spite of the underscore: ``os._exit`` and ``_replace`` of named tuples."""

NOT_PINNED = {"werkzeug"}
"""Comes with Quart, which decides its version; ``requirements.txt`` fixes it all the same."""


def _owner(dotted: str) -> object:
    """Import a module, or a class of a module, by its dotted name."""
    try:
        return importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return getattr(importlib.import_module(module), name)


def _has(owner: object, name: str) -> bool:
    """Tell whether a module or class has a name, or one of a class's methods sets it on its instances."""
    if hasattr(owner, name):
        return True
    bases = [base for base in owner.__mro__ if _is_foreign(base)] if isinstance(owner, type) else []
    return any(re.search(rf"\bself\.{name}\b", _methods(base)) for base in bases)


@cache
def _methods(cls: type) -> str:
    """Return the source of a class's methods: psycopg hides where its classes are defined, but not its functions."""
    return "\n".join(inspect.getsource(value) for value in vars(cls).values() if inspect.isfunction(value))


def _is_foreign(cls: type) -> bool:
    """Tell whether a class comes from a library, neither from Python nor from the appliance."""
    return cls.__module__.partition(".")[0] not in sys.stdlib_module_names | {"appliance"}


def _trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "appliance").rglob("*.py")):
        yield str(path.relative_to(ROOT)), ast.parse(path.read_text())


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def _imported(tree: ast.Module) -> set[str]:
    """Return the names imported from private modules, and the private names imported, of libraries."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith(("appliance", "__future__")):
            inside = any(_is_private(part) for part in node.module.split("."))
            found |= {alias.name for alias in node.names if inside or _is_private(alias.name)}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if any(_is_private(part) for part in alias.name.split("."))}
    return found


def _reached_into(tree: ast.Module) -> set[str]:
    """Return the private attributes that are read or set on something else than ``self``, and are not our own."""
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    others = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            if isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}:
                own.add(node.attr)
            else:
                others.add(node.attr)
    return others - own - PUBLIC


def _inherited(tree: ast.Module, module: str) -> set[str]:
    """Return the private names that classes of ours share with the library's classes they are built on."""
    found = set()
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        cls = getattr(importlib.import_module(module), node.name)
        bases = [base for base in cls.__mro__ if _is_foreign(base)]
        found |= {name for name in _private_names(node) if any(_has(base, name) for base in bases)}
    return found


def _private_names(tree: ast.ClassDef) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            names.add(node.attr)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if _is_private(name)}


@cache
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _library(owner: str) -> str:
    return _distributions()[owner.partition(".")[0]][0].lower()


@pytest.mark.parametrize("use", USES, ids=lambda use: str(use.owner))
def test_private_names_of_libraries_still_exist(use: Use) -> None:
    library = _library(use.owner)
    advice = f"{use.user} uses it. Read what {library} does now, mend it there, then change this table and the pin."
    try:
        owner = _owner(use.owner)
    except (ImportError, AttributeError):
        pytest.fail(f"{library} {version(library)} no longer has {use.owner}: {advice}")
    gone = [f"{use.owner}.{name}" for name in sorted(use.names) if not _has(owner, name)]
    assert not gone, f"{library} {version(library)} no longer has {', '.join(gone)}: {advice}"


def test_every_private_name_used_is_listed() -> None:
    listed = {(use.user, name) for use in USES for name in use.names}
    used = set()
    for user, tree in _trees():
        module = ".".join(Path(user).with_suffix("").parts).removesuffix(".__init__")
        names = _imported(tree) | _reached_into(tree)
        if not module.endswith("__main__"):
            names |= _inherited(tree, module)
        used |= {(user, name) for name in names}
    assert used - listed == set(), "private names of libraries that the table does not list"
    private = {(user, name) for user, name in listed if _is_private(name)}
    assert private - used == set(), "the table lists names that nobody uses"


def test_libraries_used_through_private_names_have_their_minor_version_fixed() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    fixed = {
        match[1]
        for requirement in declared
        if (match := re.fullmatch(r"([\w-]+)(?:\[\w+\])?>=(\d+)\.(\d+),<(\d+)\.(\d+)", requirement))
        and (int(match[4]), int(match[5])) == (int(match[2]), int(match[3]) + 1)
    }
    assert {_library(use.owner) for use in USES} - NOT_PINNED <= fixed
    assert "mqtt5" in fixed, "not yet 1.0: a minor version may change what it does"
