"""The names of the code are the field's terms: words of its own, once replaced, do not come back.

Identifiers, file names and template names are cut into words (``snake_case``, ``CamelCase``), and whole words are
compared, so that ``floor_plan`` is no door. Where an old word also has an ordinary meaning, only modules, classes and
functions must not be called by it alone. Texts are not looked at: keys of JSON, addresses and columns keep their names.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.support.project import ROOT

FOLDERS = ("appliance", "tests", "benchmarks")

REPLACED = {
    "door": "broker refusals, listener gate, sign-in",
    "doorkeeper": "listener gate",
    "desk": "actions",
    "overheard": "unaccepted traffic",
    "talkative": "debug logging",
    "allotment": "seat allocator",
    "foresight": "replay preview",
    "forecast": "replay preview",
    "gathering": "batch buffer",
    "readmission": "revalidation",
    "stranger": "unknown tenant, new device, anonymous visitor",
    "newcomer": "new device",
    "farewell": "offline status",
    "books": "accounting, balance",
    "in hand": "in flight",
    "broker copies": "broker sync",
    "tally": "count",
    "tallies": "counts",
    "first steps": "onboarding checklist",
    "vitals": "process metrics",
    "companion": "dependency",
    "companions": "dependencies",
    "opaque": "secret token",
    "estate": "dataset",
    "mourn": "record failure",
    "trail": "audit query",
}
"""Words that no name may hold -> what is said instead."""

REPLACED_ALONE = {
    "handed": "issued credential",
    "holding": "quarantine retention",
    "standing": "admission status",
    "marks": "roll-up queue",
    "pace": "interval estimator",
    "arrival": "sync status",
    "by": "change context",
    "found": "require",
    "affected": "require rows",
    "words": "labels",
    "spans": "time range",
    "attention": "action items",
    "figures": "queries, counts",
    "bounds": "limits",
    "stage": "demo fixture",
}
"""Words that no module, template or class may have for its whole name: in a sentence they are what they always were."""

REPLACED_CALLS = {"tell": "report", "attend": "reap"}
"""Words that no function may have for its whole name."""

ONE_THING = ("Key", "Limits", "Row", "Refused", "Tenant", "Batch", "INTERVAL", "SLICE")
"""Names that would mean something else in every module: each may be defined in one."""


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]


@cache
def _old_word(name: str) -> str | None:
    """Return the first replaced word in a name, in the singular or the plural."""
    words = f" {' '.join(_words(name))} "
    return next((old for old in REPLACED if f" {old} " in words or f" {old}s " in words), None)


def _identifiers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Name():
                yield node.id
            case ast.Attribute():
                yield node.attr
            case ast.arg():
                yield node.arg
            case ast.keyword(arg=str(name)):
                yield name
            case ast.alias():
                yield from node.name.split(".")
                yield node.asname or ""
            case _:
                pass


def _trees(pattern: str, *folders: str) -> Iterator[tuple[Path, ast.Module]]:
    """Yield the syntax trees of the files whose text matches: parsing all of them takes seconds."""
    wanted = re.compile(pattern, re.MULTILINE)
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text()
            if wanted.search(text):
                yield path.relative_to(ROOT), ast.parse(text)


def _paths() -> Iterator[Path]:
    for folder, ending in (*((folder, "*.py") for folder in FOLDERS), ("templates", "*.html")):
        yield from (path.relative_to(ROOT) for path in sorted((ROOT / folder).rglob(ending)))


def test_no_identifier_holds_a_replaced_word() -> None:
    old = defaultdict(set)
    anywhere = "|".join(word.replace(" ", "_?") for word in REPLACED)
    for path, tree in _trees(f"(?i){anywhere}", *FOLDERS):
        for name in _identifiers(tree):
            if word := _old_word(name):
                old[f"{path}: {name}"].add(f"{word} -> {REPLACED[word]}")
    assert not old, "\n".join(f"{place} ({', '.join(words)})" for place, words in sorted(old.items()))


def test_no_file_is_called_by_a_replaced_word() -> None:
    old = [str(path) for path in _paths() if any(_old_word(part) for part in path.with_suffix("").parts)]
    assert old == []


def _joined(name: str) -> str:
    return "_".join(_words(name))


def test_no_module_class_or_function_is_called_by_a_replaced_word_alone() -> None:
    old = [str(path) for path in _paths() if _joined(path.stem.removeprefix("test_")) in REPLACED_ALONE]
    defined = "|".join([*REPLACED_ALONE, *REPLACED_CALLS])
    for path, tree in _trees(rf"(?i)\b(?:class|def) _*(?:{defined})\b", *FOLDERS):
        for node in ast.walk(tree):
            match node:
                case ast.ClassDef() if (new := REPLACED_ALONE.get(_joined(node.name))) is not None:
                    old.append(f"{path}:{node.lineno}: {node.name} ({new})")
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    if (new := REPLACED_CALLS.get(_joined(node.name))) is not None:
                        old.append(f"{path}:{node.lineno}: {node.name} ({new})")
                case _:
                    pass
    assert not old, "\n".join(old)


def _defined(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def test_one_word_is_one_thing() -> None:
    defined = defaultdict(list)
    for path, tree in _trees(rf"^(?:class |def |async def )?(?:{'|'.join(ONE_THING)})\b", "appliance"):
        for name in _defined(tree):
            if name in ONE_THING:
                defined[name].append(str(path))
    assert {name: places for name, places in defined.items() if len(places) > 1} == {}
