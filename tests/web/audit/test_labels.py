"""The table of the audit's labels holds every action that the code records, and no other.

The actions are read from the source: the action of each ``Entry`` of the audit is followed through the
parameters of the functions that make one, back to where it is written out.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from itertools import product
from pathlib import Path

from appliance.alerts.lifecycle import AlertStep
from appliance.assets import asset
from appliance.db.audit import ActorKind
from appliance.devices.device import Event
from appliance.ingest.telemetry.expiry import Cause
from appliance.people.audit_query import AuditRow
from appliance.web.audit.labels import ACTIONS, FAMILIES, VALUES, entry_of
from tests.support.project import PACKAGE

AUDIT = "appliance.db.audit"
STEPS: Mapping[str, type[StrEnum]] = {"Event": Event, "AlertStep": AlertStep}
"""Types of parameters that stand for any step of a life."""
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Place:
    """An expression, where it stands."""

    expression: ast.expr
    function: Function
    module: Path


@cache
def _sources() -> Mapping[Path, str]:
    return {path: path.read_text() for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(_sources()[path])


@cache
def _calls_of(name: str) -> Sequence[tuple[Path, Function, ast.Call]]:
    """Every call, within a function, of something that is called so."""
    found = []
    for path in (path for path, text in _sources().items() if f"{name}(" in text):
        for function in (node for node in ast.walk(_tree(path)) if isinstance(node, Function)):
            for node in ast.walk(function):
                match node:
                    case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called == name:
                        found.append((path, function, node))
    return found


@cache
def _imports(path: Path, module: str, name: str) -> bool:
    """Whether the module at ``path`` has ``name`` from ``module``."""
    return any(
        isinstance(node, ast.ImportFrom) and node.module == module and name in {alias.name for alias in node.names}
        for node in _tree(path).body
    )


def _is_call_of(call: ast.Call, path: Path, function: str, home: Path) -> bool:
    """Whether a call in ``path`` is one of the ``function`` in ``home``."""
    module = ".".join(home.relative_to(PACKAGE.parent).with_suffix("").parts)
    match call.func:
        case ast.Name(id=name):
            return name == function and (path == home or _imports(path, module, name))
        case ast.Attribute(value=ast.Name(id=owner), attr=name):
            return name == function and owner == home.stem and _imports(path, module.rpartition(".")[0], owner)
    return False


def texts(place: Place) -> set[str]:
    """All that an expression can be."""
    match place.expression:
        case ast.Constant(value=str(text)):
            return {text}
        case ast.JoinedStr(values=parts):
            found = [texts(Place(part, place.function, place.module)) for part in parts]
            return {"".join(chosen) for chosen in product(*found)}
        case ast.IfExp(body=one, orelse=other):
            return {text for branch in (one, other) for text in texts(Place(branch, place.function, place.module))}
        case ast.FormattedValue(value=value):
            return texts(Place(value, place.function, place.module))
        case ast.Attribute(value=ast.Name(id="Event"), attr=member):
            return {Event[member].value}
        case ast.Call(func=ast.Name(id=name)):
            return _returned(name, place.module)
        case ast.Name(id=name):
            return _given(name, place)
    raise AssertionError(f"{place.module}:{place.expression.lineno}: this action cannot be followed to its text")


def _returned(name: str, module: Path) -> set[str]:
    """The texts that a function returns."""
    (function,) = (node for node in _tree(module).body if isinstance(node, Function) and node.name == name)
    found: set[str] = set()
    for node in ast.walk(function):
        match node:
            case ast.Return(value=ast.Constant(value=str(text))):
                found.add(text)
            case ast.Return(value=ast.IfExp(body=ast.Constant(value=str(text)), orelse=ast.Constant(value=str(other)))):
                found |= {text, other}
            case ast.Return():
                raise AssertionError(f"{module}:{node.lineno}: this action cannot be followed to its text")
    return found


def _given(name: str, place: Place) -> set[str]:
    """What the callers give for a parameter; of one that is any step of a life, all of them."""
    parameters = [*place.function.args.posonlyargs, *place.function.args.args, *place.function.args.kwonlyargs]
    names = [parameter.arg for parameter in parameters]
    assert name in names, f"{place.module}:{place.expression.lineno}: {name} is no parameter"
    annotation = parameters[names.index(name)].annotation
    if isinstance(annotation, ast.Name) and annotation.id in STEPS:
        return {step.value for step in STEPS[annotation.id]}
    found: set[str] = set()
    for path, caller, call in _calls_of(place.function.name):
        if _is_call_of(call, path, place.function.name, place.module):
            keywords = [keyword.value for keyword in call.keywords if keyword.arg == name]
            (given,) = keywords or [call.args[names.index(name)]]
            found |= texts(Place(given, caller, path))
    assert found, f"{place.module}: nobody calls {place.function.name}"
    return found


def recorded() -> set[str]:
    """Every action that the code can record."""
    return {
        text
        for path, function, call in _calls_of("Entry")
        if _imports(path, AUDIT, "Entry")
        for text in texts(Place(call.args[1], function, path))
    }


def recorded_by_the_database() -> set[str]:
    """Every action that a function of the schema records itself."""
    return {
        text
        for path in asset("sql", "migrations").glob("*.sql")
        for insert in re.findall(r"INSERT INTO (?:public\.)?audit_log\b(.*?);", path.read_text(), re.DOTALL)
        for text in re.findall(r"'([a-z_]+\.[a-z_]+)'", insert)
    }


def test_every_recorded_action_has_a_label_and_every_label_its_action() -> None:
    found = recorded() | recorded_by_the_database()
    assert sorted(found - set(ACTIONS)) == [], "add a label in web/audit/labels"
    assert sorted(set(ACTIONS) - found) == [], "nobody records it"


def test_each_cause_of_a_drop_is_told_in_words() -> None:
    told = VALUES["telemetry.drop", "cause"]
    assert set(Cause) <= set(told)
    at = datetime(2026, 11, 1, tzinfo=UTC)
    row = AuditRow(
        1, at, None, "retention", ActorKind.APPLIANCE, "telemetry.drop", "telemetry", "2026-10-02", None,
        {"cause": "disk"}, None,
    )  # fmt: skip
    assert entry_of(row, UTC).changed == [("Cause", "", told["disk"])]


def test_no_two_actions_read_the_same_and_each_is_found_by_its_family() -> None:
    assert len(set(ACTIONS.values())) == len(ACTIONS)
    for action, label in ACTIONS.items():
        assert label[0].isupper()
        assert not label.endswith(".")
        assert any(action.startswith(family) for family, _ in FAMILIES), action
    for family, _ in FAMILIES:
        assert any(action.startswith(family) for action in ACTIONS), family
