"""Holds what the API answers against what ``/openapi.json`` says of it."""

import json
import re
from typing import Any

from jsonschema import Draft202012Validator

PROBLEM = "application/problem+json"


class Contract:
    """The promises of one ``/openapi.json``."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.document = document

    def check(self, method: str, path: str, status: int, content_type: str, body: bytes) -> None:
        """Fail unless the document promises such an answer to ``method path`` (without its query)."""
        operation = self._operation(method.lower(), path)
        promised = operation["responses"].get(str(status))
        if promised is None:
            assert status >= 400, f"{method} {path} answers {status}, of which the document says nothing"
            promised = operation["responses"]["default"]
        if "$ref" in promised:
            promised = self.document["components"]["responses"][promised["$ref"].rpartition("/")[2]]
        kind = content_type.partition(";")[0]
        content = promised.get("content", {})
        if not content:
            assert body == b"", f"{method} {path} answers {status} with a body, of which the document says nothing"
            return
        assert kind in content, f"{method} {path} answers {kind}; promised are {', '.join(content)}"
        if kind.endswith("json"):
            self.validate(json.loads(body), content[kind]["schema"])

    def validate(self, value: Any, schema: dict[str, Any]) -> None:
        """Fail with the first place at which ``value`` is not as ``schema`` says."""
        Draft202012Validator({**schema, "components": self.document["components"]}).validate(value)

    def schemas(self) -> dict[str, Any]:
        """Return all named schemas."""
        found: dict[str, Any] = self.document["components"]["schemas"]
        return found

    def _operation(self, method: str, path: str) -> dict[str, Any]:
        """Return the operation of the most literal path that fits."""
        fitting = [
            template
            for template in self.document["paths"]
            if method in self.document["paths"][template]
            and re.fullmatch(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template)), path)
        ]
        assert fitting, f"the document has no {method} {path}"
        found: dict[str, Any] = self.document["paths"][min(fitting, key=lambda one: one.count("{"))][method]
        return found
