"""What the sandbox is filled with: generated mail, and mail from files."""

from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.mime import normalise
from pipelines.sandbox.mailfiles import FoundMail, read_mail
from pipelines.sandbox.mailgen import generate

KIM = "kim.akers@contoso.com"
ONE = b"Subject: One\n\nFirst line\n>From the start\n"
TWO = b"Subject: Two\n\nNo end"


def test_generated_mail_is_the_same_for_the_same_seed_and_different_for_another() -> None:
    first, again, other = ([each.mime for each in generate(KIM, 50, seed)] for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_generated_mail_has_every_kind_and_no_defect() -> None:
    records = [normalise(each.mime) for each in generate(KIM, 400)]
    assert len({record.message_key for record in records}) == 400
    assert {defect for record in records for defect in record.defects} == set()
    assert any(record.bounce for record in records)
    assert any(record.meeting for record in records)
    assert any(record.list_id for record in records)
    assert any(part.inline for record in records for part in record.attachments)
    assert any(part.media_type == "message/rfc822" for record in records for part in record.attachments)
    assert any(len(record.references) > 2 for record in records)


def test_an_mbox_gives_its_messages_without_separators(tmp_path: Path) -> None:
    box = tmp_path / "archive.mbox"
    separator = b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n"
    box.write_bytes(separator + ONE.replace(b">From", b">>From") + b"\n" + separator + TWO)
    assert [each.mime for each in read_mail(box)] == [ONE, TWO]


def test_a_maildir_gives_folders_and_flags(tmp_path: Path) -> None:
    for place in ("cur", "new", "tmp", ".Sent/cur"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "cur" / "1.host:2,FS").write_bytes(ONE)
    (tmp_path / "new" / "2.host").write_bytes(TWO)
    (tmp_path / "tmp" / "3.host").write_bytes(b"half")
    assert list(read_mail(tmp_path)) == [
        FoundMail(ONE, "", frozenset({"flagged", "seen"})),
        FoundMail(TWO, "", frozenset()),
    ]


def test_a_tree_of_eml_files_keeps_its_folders(tmp_path: Path) -> None:
    (tmp_path / "2024" / "May").mkdir(parents=True)
    (tmp_path / "2024" / "May" / "a.eml").write_bytes(ONE)
    (tmp_path / "b.eml").write_bytes(TWO)
    assert {(each.folder, each.mime) for each in read_mail(tmp_path)} == {("2024/May", ONE), ("", TWO)}


def test_bad_input_gets_a_clear_error_from_mail_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        list(read_mail(tmp_path / "nothing"))
