"""Files of the lake: published whole, readable by anything that reads Parquet."""

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.dataset as pads
import pytest

from pipelines.errors import MailoverError
from pipelines.lake import Dataset, Lake, MessageRow, RawRow
from pipelines.lake.schema import message_row, messages_table, raw_table
from pipelines.mime import normalise

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


def a_row(mime: bytes = BOUNCE) -> MessageRow:
    return MessageRow(normalise(mime), ["Inbox"], ["seen"], NOW, "imap", NOW)


def test_a_row_survives_the_way_into_parquet_and_back(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    row = a_row()
    assert row.record.bounce
    assert row.record.meeting
    file = lake.publish(Dataset.MESSAGES, "kim@contoso.com", 2026, "s", messages_table([row]))
    (batch,) = lake.read(file.path)
    (read,) = batch.to_pylist()
    assert message_row(read) == row


def test_any_reader_finds_mailbox_and_year(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    lake.publish(Dataset.MESSAGES, "kim/o'neil+x@contoso.com", 2026, "s", messages_table([a_row()]))
    (read,) = pads.dataset(tmp_path / "lake" / "messages", partitioning="hive").to_table().to_pylist()
    assert (read["mailbox"], read["year"]) == ("kim/o'neil+x@contoso.com", 2026)
    assert lake.mailboxes() == {"kim/o'neil+x@contoso.com"}


def test_bytes_are_kept_as_they_are(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    mime = bytes(range(256)) * 40 + b"\r\n.\r\n\n\r\0"
    row = RawRow("d", mime, "k", "imap", "Inbox", "1:1", None, NOW, True, [], NOW)
    file = lake.publish(Dataset.RAW, "kim@contoso.com", 2026, "s", raw_table([row]))
    assert lake.find(file.path, "raw_sha256", "d")["mime"] == mime  # type: ignore[index]
    assert lake.find(file.path, "raw_sha256", "e") is None
    assert dataclasses.astuple(file) == (
        Dataset.RAW,
        file.path,
        1,
        (tmp_path / "lake" / file.path).stat().st_size,
    )


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
