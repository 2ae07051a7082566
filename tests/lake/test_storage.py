"""Files of the lake: published whole, readable by anything that reads Parquet."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from pipelines.errors import MailoverError, UnreachableError
from pipelines.lake import Dataset, MessageRow, RawRow
from pipelines.lake.schema import message_row, messages_table, raw_table
from pipelines.lake.storage import Lake
from pipelines.mime import normalise
from tests.lake_fixture import rows_of
from tests.object_store_fixture import CREDENTIALS, ObjectStore, running_object_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BOUNCE = (
    b"From: MAILER-DAEMON@contoso.com\r\nTo: kim@contoso.com\r\nSubject: Undeliverable\r\n"
    b'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
    b"--b\r\n\r\nCould not be delivered.\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n"
    b"Reporting-MTA: dns; mx\r\n\r\nFinal-Recipient: rfc822; x@y.z\r\nAction: failed\r\nStatus: 5.1.1\r\n"
    b"--b\r\nContent-Type: text/calendar; method=REQUEST\r\n\r\n"
    b"BEGIN:VCALENDAR\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:1\r\nSUMMARY:Plan\r\nEND:VEVENT\r\n"
    b"END:VCALENDAR\r\n--b--\r\n"
)


@pytest.fixture(params=["folder", "object store"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    if request.param == "folder":
        return Lake(str(tmp_path / "lake"))
    store: ObjectStore = request.getfixturevalue("object_store")
    return Lake(store.lake_url())


def a_row(mime: bytes = BOUNCE) -> MessageRow:
    return MessageRow(normalise(mime), ["Inbox"], ["seen"], NOW, "imap", NOW)


def test_a_row_survives_the_way_into_parquet_and_back(lake: Lake) -> None:
    row = a_row()
    assert row.record.bounce
    assert row.record.meeting
    file = lake.publish(Dataset.MESSAGES, "kim@contoso.com", 2026, "s", messages_table([row]))
    (batch,) = lake.read(file.path)
    (read,) = batch.to_pylist()
    assert message_row(read) == row


def test_any_reader_finds_mailbox_and_year(lake: Lake) -> None:
    lake.publish(Dataset.MESSAGES, "kim/o'neil+x@contoso.com", 2026, "s", messages_table([a_row()]))
    (read,) = rows_of(lake, "messages")
    assert (read["mailbox"], read["year"]) == ("kim/o'neil+x@contoso.com", 2026)
    assert lake.mailboxes() == {"kim/o'neil+x@contoso.com"}


def test_bytes_are_kept_as_they_are(lake: Lake) -> None:
    mime = bytes(range(256)) * 40 + b"\r\n.\r\n\n\r\0"
    row = RawRow("d", mime, "k", "imap", "Inbox", "1:1", None, NOW, True, [], NOW)
    file = lake.publish(Dataset.RAW, "kim@contoso.com", 2026, "s", raw_table([row]))
    assert lake.find(file.path, "raw_sha256", "d")["mime"] == mime  # type: ignore[index]
    assert lake.find(file.path, "raw_sha256", "e") is None
    assert lake.describe(Dataset.RAW, file.path) == file
    assert file.size > len(mime) / 100


def test_a_file_that_is_being_written_is_not_data(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    file = lake.publish(Dataset.MESSAGES, "kim@contoso.com", 2026, "s", messages_table([a_row()]))
    half = (tmp_path / "lake" / file.path).with_name(".t.parquet.123")
    half.write_bytes(b"PAR1 half")
    assert lake.files(Dataset.MESSAGES, "kim@contoso.com") == {file.path}
    assert pads.dataset(tmp_path / "lake" / "messages", partitioning="hive").count_rows() == 1


def test_bad_input_gets_a_clear_error_from_a_lake_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("a file")
    with pytest.raises(MailoverError, match=r"storage\.lake"):
        Lake(str(tmp_path / "lake"))


def test_an_object_store_gets_one_put_for_a_file(object_store: ObjectStore) -> None:
    lake = Lake(object_store.lake_url())
    before = len(object_store.requests())
    row = RawRow("d", os.urandom(4_000_000), "k", "imap", "Inbox", "1:1", None, NOW, True, [], NOW)
    lake.publish(Dataset.RAW, "kim@contoso.com", 2026, "s", raw_table([row]))
    (request,) = object_store.requests()[before:]
    assert request.startswith("PUT ")
    assert "uploads" not in request


def test_nothing_lost_a_control_file_is_replaced_whole(lake: Lake) -> None:
    assert lake.read_control("mailboxes/kim") is None
    for value in ({"commits": 1, "journal": ["x" * 1000]}, {"commits": 2}):
        lake.write_control("mailboxes/kim", value)
        assert lake.read_control("mailboxes/kim") == value


def test_a_deleted_file_is_no_data_any_more(lake: Lake) -> None:
    kept, gone = (
        lake.publish(Dataset.MESSAGES, "kim@contoso.com", 2026, stem, messages_table([a_row()]))
        for stem in ("kept", "gone")
    )
    lake.delete(gone.path)
    assert lake.files(Dataset.MESSAGES, "kim@contoso.com") == {kept.path}
    assert len(rows_of(lake, "messages")) == 1
    lake.delete(kept.path)
    assert lake.files(Dataset.MESSAGES, "kim@contoso.com") == set()


def test_what_a_server_offered_instead_is_kept_outside_the_datasets(lake: Lake) -> None:
    lake.keep_fallback("kim@contoso.com", "f" * 64, b"a form\0")
    assert lake.read_fallback("kim@contoso.com", "f" * 64) == b"a form\0"
    assert lake.mailboxes() == set()


def test_nothing_lost_a_store_that_fails_is_no_damaged_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running_object_store(tmp_path) as store:
        lake = Lake(store.lake_url())
        file = lake.publish(Dataset.MESSAGES, "kim@contoso.com", 2026, "s", messages_table([a_row()]))
    attempts = (
        lambda: list(lake.read(file.path)),
        lambda: lake.files(Dataset.MESSAGES, "kim@contoso.com"),
        lambda: lake.write_control("x", {}),
    )
    for attempt in attempts:
        with pytest.raises(UnreachableError, match=r"storage\.lake: the object store fails at") as raised:
            attempt()
        assert "the-key-of-the-tests" not in str(raised.value)


def test_bad_input_gets_a_clear_error_from_a_bucket_that_is_not_there(object_store: ObjectStore) -> None:
    lake = Lake(object_store.lake_url().replace("//mail/", "//nowhere/"))
    with pytest.raises(UnreachableError, match="bucket does not exist"):
        lake.write_control("x", {})


@pytest.mark.parametrize(
    ("url", "kind", "root"),
    [
        ("gs://mail/lake?scheme=http&endpoint_override=localhost:4443", "GcsFileSystem", "mail/lake"),
        ("abfss://mail@contoso.dfs.core.windows.net/lake", "AzureFileSystem", "mail/lake"),
    ],
)
def test_the_other_clouds_have_their_file_systems(url: str, kind: str, root: str) -> None:
    lake = Lake(url)
    assert (type(lake._filesystem).__name__, lake.root) == (kind, root)
