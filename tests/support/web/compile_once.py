"""Compile templates and routes once for all dashboards of a test process; each dashboard compiled them anew.

An appliance builds one dashboard in its life, the tests build a thousand: compiling took two thirds of the time of
every test of a page.
"""

from collections.abc import Callable
from functools import partial
from types import CodeType
from typing import Any

from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket
from werkzeug.routing import Rule

from appliance.web.page import templating

Builder = Callable[..., tuple[str, str]]


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
    compile_builder: Callable[[Rule, bool], Builder] = Rule._compile_builder
    builders: dict[Any, Builder] = {}

    def shared(rule: Rule, append_unknown: bool = True) -> Builder:
        """Return the function that builds a rule's address: it takes the rule, so equal rules may share it."""
        key = (rule.rule, tuple(rule._trace), tuple((rule.defaults or {}).items()), append_unknown)
        if key not in builders:
            builders[key] = compile_builder(rule, append_unknown)
        return builders[key]

    Rule._compile_builder = shared  # type: ignore[method-assign, assignment]
