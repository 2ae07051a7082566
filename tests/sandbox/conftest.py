"""A tenant inside the test's own process, shared by the tests of a module: starting one takes a second."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.sandbox.control import SandboxControl
from pipelines.sandbox.server import Sandbox, running


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
