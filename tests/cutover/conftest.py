"""A workspace over the model tenant: one mailbox by IMAP, one by POP3."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import Config, CutoverSettings
from tests.ingest.model import ALEX, KIM, VirtualClock, configure
from tests.tenant_model import TenantModel, TenantWorkspace, model_tenant

Opener = Callable[..., TenantWorkspace]


def configured(folder: Path, *, alex_wave: str = "pilot", **settings: object) -> Config:
    """Kim by IMAP, in the wave ``pilot``, and Alex by POP3, with these settings of the switch."""
    config = configure(folder, KIM, ALEX)
    kim, alex = config.mailboxes
    return Config(
        tenant=config.tenant,
        storage=config.storage,
        mailboxes=(
            kim.model_copy(update={"wave": "pilot"}),
            alex.model_copy(update={"legacy": "pop3", "wave": alex_wave}),
        ),
        cutover=CutoverSettings.model_validate(settings),
    )


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def model(tmp_path: Path, clock: VirtualClock) -> Iterator[TenantModel]:
    tenant = model_tenant(tmp_path / "tenant", clock, KIM, ALEX)
    yield tenant
    tenant.store.close()


@pytest.fixture
def reopen(tmp_path: Path, model: TenantModel, clock: VirtualClock) -> Iterator[Opener]:
    """Open the workspace, again if asked again, with settings of the switch as keywords."""
    opened: list[TenantWorkspace] = []

    def opener(**settings: Any) -> TenantWorkspace:
        opened.append(TenantWorkspace(configured(tmp_path, **settings), model, clock))
        return opened[-1]

    yield opener
    for workspace in opened:
        workspace.close()


@pytest.fixture
def workspace(reopen: Opener) -> TenantWorkspace:
    return reopen()
