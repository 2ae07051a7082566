"""Which protocol feeds a mailbox, and which one is compared with it."""

from datetime import datetime, timedelta
from enum import StrEnum

from pipelines.config import Config, MailboxConfig
from pipelines.index.journal import PhaseRow
from pipelines.sources.base import ProtocolName


class Phase(StrEnum):
    """Where a mailbox stands on its way."""

    LEGACY = "legacy"
    """IMAP or POP3 feeds the lake."""
    SHADOW = "shadow"
    """It still does; Graph's view is listed, matched and compared each round."""
    GRAPH = "graph"
    """Graph feeds the lake; the legacy view is still compared for some days."""


def compared_protocol(
    config: Config, mailbox: MailboxConfig, row: PhaseRow, now: datetime
) -> ProtocolName | None:
    """The protocol whose view is compared in this phase, if one is."""
    if mailbox.legacy is None or row.phase == Phase.LEGACY:
        return None
    if row.phase == Phase.SHADOW:
        return ProtocolName.GRAPH
    trailing = timedelta(days=config.cutover.trailing_days)
    if row.since is None or now - row.since >= trailing:
        return None
    return ProtocolName(mailbox.legacy)
