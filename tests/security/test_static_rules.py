"""Ways to inject that the code leaves out altogether: text as SQL, a shell, text as markup, code from data."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.project import ROOT

MODULES = sorted((ROOT / "appliance").rglob("*.py"))
RUNS_SQL = {"execute", "executemany", "copy", "stream"}
RUNS_CODE = {"eval", "exec", "compile", "__import__"}


def calls(source: str) -> Iterator[ast.Call]:
    """Yield every call of a module."""
    return (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))


def called(call: ast.Call) -> str:
    """Return the last part of what is called."""
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def is_made_of_text(node: ast.expr) -> bool:
    """Return whether an expression puts text together: an f-string, ``+``, ``%``, ``.format`` or ``.join``."""
    if isinstance(node, ast.JoinedStr):
        return True
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Mod):
        return True
    if not isinstance(node, ast.Call):
        return False
    if called(node) in {"format", "join"} and isinstance(node.func, ast.Attribute):
        made_by_psycopg = isinstance(node.func.value, ast.Call) and called(node.func.value) == "SQL"
        return not made_by_psycopg
    return called(node) in {"encode", "str"} and any(map(is_made_of_text, _sources(node)))


def _sources(node: ast.Call) -> list[ast.expr]:
    return [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]


def faults(source: str) -> list[str]:
    """Return what a module does that could carry in what somebody typed."""
    found = []
    for call in calls(source):
        name, first = called(call), call.args[0] if call.args else None
        if name in RUNS_SQL and isinstance(call.func, ast.Attribute) and first is not None and is_made_of_text(first):
            found.append(f"line {call.lineno}: SQL put together from text")
        if name in RUNS_CODE and isinstance(call.func, ast.Name):
            found.append(f"line {call.lineno}: {name}()")
        if any(word.arg == "shell" and not _is_false(word.value) for word in call.keywords):
            found.append(f"line {call.lineno}: a shell")
        if ast.unparse(call.func) in {"os.system", "os.popen", "subprocess.getoutput", "pickle.loads", "yaml.load"}:
            found.append(f"line {call.lineno}: {ast.unparse(call.func)}")
        if name in {"Markup", "mark_safe"}:
            found.append(f"line {call.lineno}: Markup()")
    return found


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_no_module_puts_text_where_it_would_be_carried_out() -> None:
    found = {path.relative_to(ROOT).as_posix(): faults(path.read_text()) for path in MODULES}
    assert {name: those for name, those in found.items() if those} == {}


@pytest.mark.parametrize(
    "line",
    [
        'await connection.execute(f"SELECT {name}")',
        'cursor.execute("SELECT " + name)',
        'connection.execute("SELECT %s" % name)',
        'connection.execute("SELECT {}".format(name).encode())',
        'cursor.copy(f"COPY {table} FROM STDIN")',
        "eval(text)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "Markup(text)",
        "pickle.loads(data)",
    ],
)
def test_each_way_to_inject_is_found(line: str) -> None:
    assert len(faults(line.removeprefix("await "))) == 1


def test_what_only_looks_like_it_is_not() -> None:
    fine = 'c.execute(sql.SQL("x {}").format(name))\nc.execute(STATEMENTS["a"], {"n": f"{n}"})\nre.compile("a" + "b")'
    assert faults(fine) == []


def test_pages_escape_what_they_are_given() -> None:
    """Templates are escaped by their name, whatever their end; none switches it off, and ``|safe`` marks no text."""
    for template in (ROOT / "templates").rglob("*.html"):
        text = template.read_text()
        assert not re.search(r"\|\s*safe\b|autoescape\s+false", text), template
