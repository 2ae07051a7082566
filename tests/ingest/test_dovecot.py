"""Ingestion from a real IMAP server: raw bytes in the lake are the bytes it delivered."""

import imaplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from pipelines.ingest.passes import ingest_mailbox
from pipelines.ingest.report import Outcome
from pipelines.sandbox.mailgen import generate
from pipelines.sandbox.store import as_crlf
from pipelines.sources.archive_files import read_mail
from tests.dovecot_fixture import PASSWORD, Dovecot
from tests.dovecot_workspace import DovecotWorkspace


def lake(directory: Path, dataset: str, column: str) -> list[bytes]:
    table = pads.dataset(directory / "lake" / dataset, partitioning="hive").to_table(columns=[column])
    found: list[bytes] = table.column(0).to_pylist()
    return found


def test_bytes_are_kept_from_dovecot_and_nothing_is_read_twice(
    dovecot: Dovecot, address: str, tmp_path: Path
) -> None:
    letters = [each.mime for each in generate(address, 150)]
    mailbox = dovecot.mailbox(address)
    mailbox.deliver(*letters[:100])
    mailbox.deliver(*letters[100:], folder="Archive")
    with DovecotWorkspace(dovecot, tmp_path, address) as workspace:
        first = ingest_mailbox(workspace, workspace.config.mailbox(address))
        assert first.outcome is Outcome.DONE
        assert sorted(lake(tmp_path, "raw", "mime")) == sorted(map(as_crlf, letters))
        mailbox.renumber("Archive")
        mailbox.deliver(b"Subject: new\r\nMessage-ID: <new@contoso.com>\r\n\r\nNew.\r\n")
        second = ingest_mailbox(workspace, workspace.config.mailbox(address))
    assert (second.messages, second.downloads) == (1, 1)
    assert len(lake(tmp_path, "messages", "message_key")) == 151


@pytest.mark.corpus
def test_bytes_are_kept_of_all_real_mail(
    dovecot: Dovecot, address: str, tmp_path: Path, corpus_dir: Path
) -> None:
    delivered = {letter.mime for _folder, letter in read_mail(corpus_dir)}
    dovecot.mailbox(address).deliver(*sorted(delivered))
    with DovecotWorkspace(dovecot, tmp_path, address) as workspace:
        report = ingest_mailbox(workspace, workspace.config.mailbox(address))
        assert report.error is None
        assert report.folder_errors == {}
        assert report.rounds[0].listed == len(delivered)
        assert report.total("quarantined") == 0
    kept = lake(tmp_path, "raw", "mime")
    assert len(kept) == len(set(kept))
    assert set(kept) == set(fetched_alone(dovecot, address))


def fetched_alone(server: Dovecot, address: str) -> Iterator[bytes]:
    """What the server delivers to a client that shares no code with ours."""
    context = ssl.create_default_context(cafile=server.ca_file)
    with imaplib.IMAP4_SSL("localhost", server.imap_port, ssl_context=context) as client:
        client.authenticate("PLAIN", lambda _: f"\0{address}\0{PASSWORD}".encode())
        client.select("INBOX", readonly=True)
        _status, data = client.uid("FETCH", "1:*", "(UID BODY.PEEK[])")
        yield from (piece[1] for piece in data if isinstance(piece, tuple))
