"""What the tests of the switch do and look at."""

from datetime import timedelta

import sqlalchemy as sa

from pipelines.cutover.passes import read_mailbox
from pipelines.cutover.phases import Phase
from pipelines.cutover.switch import Order, Switch, switch
from pipelines.index.journal import phase_row
from pipelines.index.parity import Parity, newest_parities
from pipelines.index.tables import folders, occurrences
from pipelines.ingest.checks import bytes_are_kept, nothing_lost, nothing_twice
from pipelines.ingest.report import MailboxReport
from pipelines.sandbox.store import Message
from pipelines.sources.base import ProtocolName
from tests.ingest.model import KIM, mail
from tests.tenant_model import TenantWorkspace

GRAPH, IMAP, POP3 = ProtocolName.GRAPH, ProtocolName.IMAP, ProtocolName.POP3


def deliver(
    workspace: TenantWorkspace, *numbers: int, folder: str = "Inbox", address: str = KIM
) -> list[Message]:
    """Mail that came a minute apart, the last one a minute ago."""
    moment = workspace.clock.now()
    return [
        workspace.model.store.deliver(address, folder, mail(each), moment - timedelta(minutes=each % 50 + 1))
        for each in numbers
    ]


def read(workspace: TenantWorkspace, address: str = KIM) -> MailboxReport:
    """A pass as the phase says, an hour after what happened before; no error may be in it."""
    workspace.clock.sleep(3600)
    report = read_mailbox(workspace, workspace.config.mailbox(address))
    workspace.clock.sleep(3600)
    assert report.error is None, report.error
    return report


def move(workspace: TenantWorkspace, to: Phase, address: str = KIM, *, dry_run: bool = False) -> Switch:
    workspace.clock.sleep(60)
    order = Order(to, "a tester", "because it is tested", dry_run)
    return switch(workspace, workspace.config.mailbox(address), order)


def phase(workspace: TenantWorkspace, address: str = KIM) -> str:
    return phase_row(workspace.index, address).phase


def mailbox_id(workspace: TenantWorkspace, address: str = KIM) -> int:
    return phase_row(workspace.index, address).mailbox_id


def parity(workspace: TenantWorkspace, address: str = KIM) -> Parity:
    return newest_parities(workspace.index, mailbox_id(workspace, address), 1)[0]


def evidence(workspace: TenantWorkspace, protocol: ProtocolName) -> list[str]:
    """Why each live occurrence of a protocol is taken for its message."""
    with workspace.index.read() as connection:
        return sorted(
            connection.scalars(
                sa.select(occurrences.c.evidence)
                .join(folders, folders.c.id == occurrences.c.folder_id)
                .where(folders.c.protocol == protocol, occurrences.c.removed_at.is_(None))
            )
        )


def assert_sound(workspace: TenantWorkspace, address: str = KIM) -> None:
    for check in (nothing_lost, nothing_twice, bytes_are_kept):
        result = check(workspace, address)
        assert result.passed, (check.__name__, result.summary)
