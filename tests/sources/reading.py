"""Generated mail, and reading it through any source."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from pipelines.auth import TokenProvider
from pipelines.clock import Clock
from pipelines.sources import Entry, Fetched, Folder, Page, ProtocolName, Role, Source, open_source
from tests.dovecot_fixture import Dovecot


@contextmanager
def opened(
    server: Dovecot, address: str, protocol: ProtocolName, tokens: TokenProvider, clock: Clock
) -> Iterator[Source]:
    """A source that reads ``address`` on ``server``, closed at the end."""
    config = server.config(address)
    with closing(open_source(config, config.mailboxes[0], protocol, tokens, clock)) as source:
        yield source


def mails(count: int, seed: int = 1) -> list[bytes]:
    """Generated mail: every octet, lone CR and LF, lines like the protocol's, long lines."""
    chance = random.Random(seed)  # noqa: S311
    shapes: list[Callable[[], bytes]] = [
        lambda: bytes(chance.choices(range(256), k=chance.randrange(2000))),
        lambda: b"x" * chance.randrange(3000) + b"\r\n",
        lambda: b")\r\n* 1 FETCH (UID 1 BODY[] {5}\r\n",
        lambda: b"line\nline\rline\r\n" * chance.randrange(9),
    ]
    return [
        b"Message-ID: <%d.%d@contoso.com>\r\nSubject: mail %d\r\nFrom: kim@contoso.com\r\n\r\n%s"
        % (number, seed, number, chance.choice(shapes)())
        for number in range(count)
    ]


def inbox_of(source: Source) -> Folder:
    return next(folder for folder in source.folders() if folder.role is Role.INBOX)


def walk(source: Source, folder: Folder, cursor: str | None = None) -> tuple[list[Entry], str]:
    """Everything new, and where the next walk starts."""
    entries: list[Entry] = []
    for step in source.changes(folder, cursor):
        if isinstance(step, Page):
            entries += step.entries
            cursor = step.cursor
    assert cursor
    return entries, cursor


def fetched(source: Source, folder: Folder, entries: list[Entry]) -> dict[str, bytes]:
    outcomes = list(source.fetch(folder, entries))
    assert sorted(each.entry.native_id for each in outcomes) == sorted(each.native_id for each in entries)
    return {each.entry.native_id: each.mime for each in outcomes if isinstance(each, Fetched)}
