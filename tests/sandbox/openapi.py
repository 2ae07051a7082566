"""Just enough of OpenAPI 3.0 to check answers by: references, compositions, types, patterns."""

import re
from pathlib import Path
from typing import Any

import yaml

Schema = dict[str, Any]
_TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


class Description:
    """An API description."""

    def __init__(self, path: Path) -> None:
        with path.open() as file:
            self._whole: Schema = yaml.load(file, Loader=yaml.CSafeLoader)

    def operations(self) -> list[tuple[str, str, Schema]]:
        """Path, method and operation, each."""
        return [
            (path, method, operation)
            for path, methods in self._whole["paths"].items()
            for method, operation in methods.items()
        ]

    def named(self, name: str) -> Schema:
        """A schema by its name."""
        return {"$ref": f"#/components/schemas/{name}"}

    def resolved(self, part: Schema) -> Schema:
        """What a reference stands for."""
        while "$ref" in part:
            found: Any = self._whole
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            part = found
        return part

    def answer(self, operation: Schema) -> tuple[str, Schema]:
        """Media type and schema of an operation's good answer."""
        responses = operation["responses"]
        good = self.resolved(responses.get("2XX") or responses["200"])
        media, content = next(iter(good["content"].items()))
        return media, content["schema"]

    def objections(self, schema: Schema, value: Any, where: str = "") -> list[str]:
        """Everything in which ``value`` is not what ``schema`` says; names it does not know count."""
        named = value.get("@odata.type", "#")[1:] if isinstance(value, dict) else ""
        if named in self._whole["components"]["schemas"]:
            schema = self.named(named)
        is_reference = "$ref" in schema
        schema = self.resolved(schema)
        if value is None:
            return [] if is_reference or schema.get("nullable") else [f"{where} is null"]
        parts = [self.resolved(each) for each in self._all(schema)]
        found = []
        for part in parts:
            found += self._simple(part, value, where)
        if isinstance(value, dict):
            known = {name: one for part in parts for name, one in part.get("properties", {}).items()}
            for name, one in value.items():
                if name in known:
                    found += self.objections(known[name], one, f"{where}.{name}")
                elif not name.startswith("@odata.") and known:
                    found.append(f"{where}.{name} is not described")
        return found

    def _all(self, schema: Schema) -> list[Schema]:
        schema = self.resolved(schema)
        return [schema, *(deep for each in schema.get("allOf", []) for deep in self._all(each))]

    def _simple(self, schema: Schema, value: Any, where: str) -> list[str]:
        kind = schema.get("type")
        if kind and (not isinstance(value, _TYPES[kind]) or (kind != "boolean" and isinstance(value, bool))):
            return [f"{where} is {type(value).__name__}, not {kind}"]
        found = [f"{where} lacks {name}" for name in schema.get("required", []) if name not in value]
        if "enum" in schema and value not in schema["enum"]:
            found.append(f"{where} is {value!r}")
        if "pattern" in schema and not re.search(schema["pattern"], value):
            found.append(f"{where} is {value!r}")
        for number, each in enumerate(value if kind == "array" else []):
            found += self.objections(schema["items"], each, f"{where}[{number}]")
        return found
