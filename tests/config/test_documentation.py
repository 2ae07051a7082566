"""docs/configuration.md says what the code does."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import Config, load_config
from pipelines.config.values import byte_size
from tests.config.cases import REJECTED, VALID

_PAGES = Path(__file__).resolve().parents[2] / "docs"
_CONFIGURATION = (_PAGES / "configuration.md").read_text()


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def _leaves(schema: dict[str, Any], whole: dict[str, Any], path: str = "") -> Iterator[tuple[str, object]]:
    """Key path and default of every value below ``schema``; ``...`` where there is no default."""
    for key, part in schema["properties"].items():
        default = part.get("default", ...) if key not in schema.get("required", ()) else ...
        here = f"{path}.{key}".removeprefix(".")
        options = [part, part.get("items", {}), *part.get("oneOf", ()), *part.get("anyOf", ())]
        sections = [option["$ref"].rpartition("/")[2] for option in options if "$ref" in option]
        for section in sections:
            below = f"{here}[]" if part.get("type") == "array" else here
            yield from _leaves(whole["$defs"][section], whole, below)
        if not sections:
            yield here, default


def _shown(cell: str) -> object:
    word = cell.strip("` ")
    if word == "required":
        return ...
    value = yaml.safe_load(word)
    return (
        None if value == "none" else byte_size(value) if isinstance(value, str) and "iB" in value else value
    )


def test_every_key_is_documented_with_its_default_and_nothing_else_is() -> None:
    rows = re.findall(r"^\| `([a-z0-9_.\[\]]+)` \|.*\|([^|]+)\|[^|]+\|$", _CONFIGURATION, re.MULTILINE)
    schema = Config.model_json_schema()
    keys = {path: None if default == [] else default for path, default in _leaves(schema, schema)}
    assert {path: _shown(cell) for path, cell in rows} == keys


@pytest.mark.parametrize("page", ["configuration.md", "sign-in.md"])
def test_the_examples_in_the_pages_load(page: str, tmp_path: Path) -> None:
    certificate = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----\n"
    for name in ("ca.pem", "app.pem"):
        (tmp_path / name).write_text(certificate)
    examples = _blocks((_PAGES / page).read_text(), "yaml")
    assert examples
    for example in examples:
        given, base = yaml.safe_load(example), yaml.safe_load(VALID)
        tenant = {**base["tenant"], **given.get("tenant", {})}
        (tmp_path / "mailover.yaml").write_text(yaml.safe_dump({**base, **given, "tenant": tenant}))
        load_config(tmp_path / "mailover.yaml")


def test_the_errors_in_the_page_are_those_that_are_shown() -> None:
    known = {case.error.replace("{here}", "/srv/mailover") for case in REJECTED.values()}
    shown = {block.rstrip("\n") for block in _blocks(_CONFIGURATION, "text")}
    assert len(shown) > 5
    assert shown <= known
