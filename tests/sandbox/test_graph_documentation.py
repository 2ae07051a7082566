"""docs/sandbox.md says what the sandbox can do, all of it."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from pipelines.sandbox.control import SandboxControl
from pipelines.sandbox.faults import Fault, FaultKind
from pipelines.sandbox.graph_routes import ROUTES
from pipelines.sandbox.graph_settings import GraphSettings
from pipelines.sandbox.server import Sandbox
from pipelines.sandbox.store import StoreError

PAGE = (Path(__file__).parents[2] / "docs" / "sandbox.md").read_text()


def section(title: str) -> str:
    return re.split(r"^#+ ", PAGE.partition(f"# {title}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[tuple[str, ...]]:
    """The tables' rows, without their heads."""
    lines = re.findall(r"^\|(.*)\|$", text, re.MULTILINE)
    return [tuple(cell.strip() for cell in line.split(" | ")) for line in lines if "---" not in line]


def test_every_operation_of_the_control_api_is_described(control: SandboxControl) -> None:
    with pytest.raises(StoreError) as refused:
        control.do("nothing")
    there = set(str(refused.value).removeprefix("operations are ").split(", "))
    assert {
        name for row in rows(section("The control API")) for name in re.findall(r"^`(\w+)`", row[0])
    } == there


def test_every_fault_is_described_with_all_it_takes() -> None:
    described = {name for row in rows(section("Faults")) for name in re.findall(r"`(\w+)`", row[0])}
    taken = {each.name for each in fields(Fault)} - {"door"}
    assert described == {str(each) for each in FaultKind} | taken


def test_every_setting_of_the_graph_door_is_described_with_its_default() -> None:
    described: dict[str, str] = {}
    for row in rows(section("Settings"))[1:]:
        defaults = row[1].strip("`").split(", ")
        described |= dict(zip(re.findall(r"`(\w+)`", row[0]), defaults, strict=True))
    there = GraphSettings()
    assert described == {
        each.name: f"{value:g}"
        if isinstance(value, float)
        else str(value).lower()
        if value is True
        else str(value)
        for each in fields(there)
        for value in [getattr(there, each.name)]
    }


def test_every_endpoint_of_graph_is_described_with_its_name() -> None:
    described = {row[-1].strip("`") for row in rows(section("Graph"))[1:]}
    assert described == {each.command for each in ROUTES} | {"$batch"}


def test_the_example_with_microsofts_own_client_runs(tenant: Sandbox, directory: Path) -> None:
    block = re.search(r"```python\n(.*?)```", section("Test your own Graph client with it"), re.DOTALL)
    assert block
    program = (
        f"{block[1]}\nimport asyncio, sys\nprint(asyncio.run(folder_names(Path(sys.argv[1]), sys.argv[2])))"
    )
    command = [sys.executable, "-c", program, str(directory), tenant.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "'Inbox', 'Sent Items'" in ended.stdout, ended.stderr
