"""The public interface of Python source, read without importing it: what exists, and how it is called.

Each entry has a key, such as ``Client.publish(qos)`` for a parameter, ``Client.publish`` for the method itself and
``ConnectError`` for a class or another exported name, and a description that two implementations can be compared by.
"""

import ast
from collections.abc import Iterable, Iterator

SPECIAL = ("__init__", "__aenter__", "__aexit__")
"""Methods that are called although their names begin with an underscore."""


def interface(sources: Iterable[str]) -> dict[str, str]:
    """Return the interface of a module, or of a package from the sources of its modules: that of ``__all__``."""
    trees = [ast.parse(source) for source in sources]
    exported = {name for tree in trees for name in _exported(tree)}
    entries = dict.fromkeys(sorted(exported), "a name")
    for tree in trees:
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and node.name in exported:
                entries |= dict(_of_class(node))
    return entries


def _exported(tree: ast.Module) -> list[str]:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            names = ast.literal_eval(node.value)
            assert isinstance(names, list)
            return names
    return []


def _of_class(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    yield node.name, f"a class of {', '.join(ast.unparse(base) for base in node.bases) or 'object'}"
    overloads = 0
    for member in node.body:
        if not isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if member.name == "__init__":
            yield from _attributes(node.name, member)
        if member.name.startswith("_") and member.name not in SPECIAL:
            continue
        decorators = {_plain(decorator) for decorator in member.decorator_list}
        name = f"{node.name}.{member.name}" if member.name != "__init__" else node.name
        if "overload" in decorators:
            overloads += 1
            name = f"{name}#{overloads}"
        if "property" in decorators:
            yield name, f"an attribute, {_plain(member.returns)}"
            continue
        if member.name != "__init__":
            yield name, f"{_kind(member)}, returns {_plain(member.returns)}"
        yield from _parameters(name, member)


def _attributes(owner: str, initializer: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    for node in ast.walk(initializer):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            if isinstance(target, ast.Attribute) and not target.attr.startswith("_"):
                yield f"{owner}.{target.attr}", "an attribute that can be set"


def _kind(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    """Return how a method is called; a generator is iterated over, whichever way it is written."""
    generates = any(isinstance(node, ast.Yield) for node in ast.walk(function))
    return "awaited" if isinstance(function, ast.AsyncFunctionDef) and not generates else "called"


def _parameters(name: str, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[str, str]]:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + [*arguments.defaults]
    for parameter, default in list(zip(positional, defaults, strict=True))[1:]:  # without self
        yield f"{name}({parameter.arg})", _parameter("by position or name", parameter, default)
    if arguments.vararg is not None:
        yield f"{name}({arguments.vararg.arg})", _parameter("any number", arguments.vararg, None)
    for parameter, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield f"{name}({parameter.arg})", _parameter("by name", parameter, default)


def _parameter(kind: str, parameter: ast.arg, default: ast.expr | None) -> str:
    described = f"{kind}, {_plain(parameter.annotation)}"
    return described if default is None else f"{described} = {ast.unparse(default)}"


def _plain(annotation: ast.expr | None) -> str:
    """Return an annotation without the modules of its names."""
    text = "" if annotation is None else ast.unparse(annotation)
    for module in ("typing.", "types.", "collections.abc."):
        text = text.replace(module, "")
    return text
