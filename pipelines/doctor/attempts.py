"""One real read of a mailbox over one protocol: sign in, list the folders, open the Inbox."""

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

from pipelines.auth import TokenProvider
from pipelines.clock import Clock
from pipelines.config import Config, MailboxConfig
from pipelines.doctor.coverage import cover, unmatched_rules
from pipelines.doctor.findings import Coverage
from pipelines.errors import MailoverError, ThrottledError
from pipelines.ingest.passes import as_mailover_error
from pipelines.sources import open_source
from pipelines.sources.base import ProtocolName, Role

_LONGEST_PAUSE = 2.0
"""Seconds. Ingestion waits longer before it tries a refused mailbox again; a check of thousands cannot."""
_TOO_LONG = 60.0
"""A server that names such a pause is to be left alone, not asked again."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """How it went."""

    mailbox: MailboxConfig
    protocol: ProtocolName
    error: MailoverError | None = None
    coverage: Coverage | None = None
    """Where it went well."""
    unmatched: tuple[str, ...] = ()
    """Rules of ``folders`` that name no folder of the mailbox."""


def attempt(
    config: Config, mailbox: MailboxConfig, protocol: ProtocolName, tokens: TokenProvider, clock: Clock
) -> Attempt:
    """Read as ingestion would, up to the first message. Whatever fails is in the outcome."""
    try:
        with closing(open_source(config, mailbox, protocol, tokens, _Impatient(clock))) as source:
            folders = source.folders()
            inbox = next((folder for folder in folders if folder.role is Role.INBOX), None)
            if inbox is None:
                raise MailoverError(
                    f"{mailbox.address}: there is no Inbox among its {len(folders)} folders",
                    remedy="check that the mailbox opens in Outlook on the web",
                )
            # The sign-in alone proves nothing: Exchange refuses mailboxes at the first command after it.
            source.count(inbox)
    except Exception as error:  # noqa: BLE001 - one mailbox must not end the visit
        return Attempt(mailbox, protocol, as_mailover_error(error))
    return Attempt(
        mailbox,
        protocol,
        coverage=cover(mailbox, protocol, folders),
        unmatched=unmatched_rules(mailbox.folders, folders),
    )


class _Impatient:
    """A clock whose pauses are short, and that refuses long ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def now(self) -> datetime:
        return self._clock.now()

    def monotonic(self) -> float:
        return self._clock.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > _TOO_LONG:
            raise ThrottledError(
                f"the server asks to wait {seconds:.0f} s before the next command",
                retry_after=seconds,
                remedy="try again after that; lower ingest.concurrency if it happens often",
            )
        self._clock.sleep(min(seconds, _LONGEST_PAUSE))
