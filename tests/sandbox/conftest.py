"""A tenant inside the test's own process, shared by the tests of a module: starting one takes a second."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import pytest

from pipelines.sandbox.control import SandboxControl
from pipelines.sandbox.graph_settings import GraphSettings
from pipelines.sandbox.identity import make_identity
from pipelines.sandbox.server import Sandbox, running
from tests.conftest import ROOT
from tests.sandbox.graph_world import Box, World, open_graph


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """One mailbox and one that is not granted, both empty."""
    with running(tmp_path_factory.mktemp("tenant"), mailboxes=1, messages=0) as started:
        yield started


@pytest.fixture
def directory(tenant: Sandbox) -> Path:
    return tenant.config.parent


@pytest.fixture
def control(tenant: Sandbox, directory: Path) -> Iterator[SandboxControl]:
    """The tenant's control API; after the test the tenant behaves again."""
    made = SandboxControl(directory, tenant.url)
    yield made
    made.do("clear_faults")
    made.do("tokens", lifetime=3600, roles=ROLES)
    made.close()


ROLES = {
    "https://outlook.office365.com": ["IMAP.AccessAsApp", "POP.AccessAsApp"],
    "https://graph.microsoft.com": ["Mail.Read"],
}


@pytest.fixture(scope="module")
def graph_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The Graph door over an empty store."""
    directory = tmp_path_factory.mktemp("graph")
    with open_graph(make_identity(directory), directory) as world:
        yield world


@pytest.fixture
def box(graph_world: World) -> Iterator[Box]:
    """A mailbox of this test only, at a door without chance; afterwards the door is as it was."""
    settings, address = graph_world.door.settings, f"{uuid4().hex}@contoso.com"
    settings.change(**asdict(GraphSettings()) | {"empty_pages": 0, "repeats": 0})
    graph_world.store.create_mailbox(address)
    for path, role in (("Inbox", "inbox"), ("Sent Items", "sent"), ("Drafts", "drafts")):
        graph_world.store.create_folder(address, path, role)
    graph_world.store.create_folder(address, "Archive", "archive")
    yield Box(graph_world, address)
    graph_world.faults.clear()


@pytest.fixture(scope="session")
def graph_description() -> Path:
    """The folder of Microsoft's description of Graph: MAILOVER_GRAPH, else the one beside the project."""
    named = os.environ.get("MAILOVER_GRAPH")
    folder = Path(named) if named else ROOT.parent / "shared" / "facts"
    if not (folder / "graph-mail-openapi.yaml").exists():
        pytest.skip("the description of Graph is not here: set MAILOVER_GRAPH to its folder")
    return folder
