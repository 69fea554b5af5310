"""Policies are required arguments: a default of one would be a decision that a caller can forget to make."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent / "appliance"

POLICIES = frozenset(
    {
        "bucket_ttl",
        "burst",
        "clock",
        "grace",
        "hasher",
        "limit",
        "max_tracked_devices",
        "max_wait",
        "now",
        "provisioning",
        "rate",
        "retention",
        "tenant_rate",
        "time_zone",
        "zone",
    }
)
"""Parameters that stand for a choice of the configuration, of a tenant or of the caller."""

EXEMPT = {
    ("mqtt/client.py", "clock"): "the client is a library of its own: the time of the process is not a choice of ours",
}
"""File and parameter -> why a default is right there."""


def _defaulted(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """Names of the parameters that have a default."""
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    first = len(positional) - len(arguments.defaults)
    named = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return {parameter.arg for parameter in positional[first:]} | {
        parameter.arg for parameter, default in named if default is not None
    }


def _forgettable(path: Path) -> list[tuple[str, str, int]]:
    """File, parameter and line of each policy that has a default in ``path``."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            found += [(str(path.relative_to(ROOT)), name, node.lineno) for name in _defaulted(node) & POLICIES]
    return found


def test_no_policy_has_a_default() -> None:
    found = [entry for path in sorted(ROOT.rglob("*.py")) for entry in _forgettable(path)]
    assert [entry for entry in found if entry[:2] not in EXEMPT] == []
    assert {entry[:2] for entry in found} == set(EXEMPT), "an exemption that is not needed any more"


def test_a_default_is_found_wherever_it_stands() -> None:
    for source in (
        "def f(row, now, *, grace=GRACE): ...",
        "def f(row, grace=GRACE): ...",
        "class C:\n    async def f(self, grace=None, /, *, more): ...",
        "f = lambda row, *, grace=GRACE: row",
    ):
        [function] = [
            node
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        ]
        assert _defaulted(function) == {"grace"}, source
