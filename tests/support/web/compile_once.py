"""Make once for all dashboards of a test process what is the same in each; each dashboard made it anew.

An appliance builds one dashboard in its life, the tests build two thousand: templates, routes, static files and the
document of the API took two thirds of the time of every test of a page.
"""

from collections.abc import Callable, Hashable
from functools import cache, partial
from types import CodeType
from typing import Any

from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket
from quart import Quart
from werkzeug.routing import Rule

from appliance.web import app
from appliance.web.http.files import StaticFiles
from appliance.web.openapi import document
from appliance.web.openapi.describe import declared
from appliance.web.page import templating

COMPILED = ("_parts", "_trace", "_converters", "_build", "_build_unknown")
"""What ``Rule.compile`` sets, besides names that it adds to ``arguments``."""


class CompiledTemplates(BytecodeCache):
    """The code of templates by name and content."""

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give the template its code, if another dashboard has compiled it."""
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code for other dashboards."""
        assert bucket.code is not None
        self._code[bucket.key, bucket.checksum] = bucket.code


def compile_once() -> None:
    """Have all dashboards of this process share what they compile."""
    templating.Environment = partial(Environment, bytecode_cache=CompiledTemplates())  # type: ignore[attr-defined, assignment]
    app.StaticFiles = cache(StaticFiles)  # type: ignore[assignment, attr-defined]
    Rule.compile = _shared_rules()  # type: ignore[assignment, method-assign]
    document.document = _shared_documents()  # type: ignore[assignment]


def _shared_rules() -> Callable[[Rule], None]:
    """Return ``Rule.compile``, which compiles equal rules once: what it makes depends on their text and defaults."""
    compile_rule = Rule.compile
    compiled: dict[Hashable, tuple[dict[str, Any], frozenset[str]]] = {}

    def shared(rule: Rule) -> None:
        assert rule.map is not None
        place = rule.host if rule.map.host_matching else rule.subdomain
        key = (rule.rule, place, rule.merge_slashes, tuple((rule.defaults or {}).items()))
        if key not in compiled:
            compile_rule(rule)
            made = {name: getattr(rule, name) for name in COMPILED}
            made["_build"], made["_build_unknown"] = rule._build.__func__, rule._build_unknown.__func__  # type: ignore[attr-defined]
            compiled[key] = made, frozenset(rule.arguments)
            return
        made, arguments = compiled[key]
        rule._parts, rule._trace, rule._converters = list(made["_parts"]), made["_trace"], made["_converters"]
        rule._build, rule._build_unknown = made["_build"].__get__(rule), made["_build_unknown"].__get__(rule)
        rule.arguments |= arguments

    return shared


def _shared_documents() -> Callable[[Quart], dict[str, Any]]:
    """Return ``document``, which makes one document of equal routes with equal declarations."""
    make = document.document
    documents: dict[Hashable, dict[str, Any]] = {}

    def shared(dashboard: Quart) -> dict[str, Any]:
        key = frozenset(
            (rule.rule, rule.endpoint, frozenset(rule.methods or ()), repr(declared(view)))
            for rule in dashboard.url_map.iter_rules()
            for view in [dashboard.view_functions[rule.endpoint]]
        )
        if key not in documents:
            documents[key] = make(dashboard)
        return documents[key]

    return shared
