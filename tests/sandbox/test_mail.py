"""What the sandbox is filled with: generated mail, and mail from files."""

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.errors import UsageError
from pipelines.mime import normalise
from pipelines.sandbox.mailfiles import FoundMail, read_mail
from pipelines.sandbox.mailgen import generate
from pipelines.sandbox.store import Store
from pipelines.sandbox.tenant import furnish, seats

KIM = "kim.akers@contoso.com"
ONE = b"Subject: One\n\nFirst line\n>From the start\n"
TWO = b"Subject: Two\n\nNo end"
SEPARATOR = b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n"


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
    whole = b"".join(each.mime for each in generate(KIM, 400))
    for charset in (b"utf-8", b"windows-1252", b"koi8-r", b"iso-2022-jp"):
        assert b'charset="' + charset in whole


def test_generated_mail_is_spread_over_three_years_and_has_ids_of_its_own() -> None:
    found = list(generate(KIM, 500))
    span = found[-1].received_at - found[0].received_at
    assert 2.9 < span.days / 365 < 3.1
    ids = [normalise(each.mime).message_id for each in found]
    assert None not in ids
    assert len(set(ids)) == 500


def test_an_mbox_gives_its_messages_without_separators(tmp_path: Path) -> None:
    box = tmp_path / "archive.mbox"
    box.write_bytes(SEPARATOR + ONE.replace(b">From", b">>From") + b"\n" + SEPARATOR + TWO)
    assert list(read_mail(box)) == [FoundMail(ONE, ""), FoundMail(TWO, "")]


@pytest.mark.parametrize(
    ("separator", "gap"),
    [
        (b"From kim@contoso.com Sat Mar  1 09:00:00 2025\n", b"\n"),
        (b"From kim@contoso.com Sat, 01 Mar 2025 09:00:00 +0100\n", b"\n"),
        (b"From kim@contoso.com Sat, 01 Mar 2025 09:00:00 +0100\n", b""),
        (b"From - Sat Mar 01 09:00:00 2025\n", b"\n"),
        (b"From 1844347792267117879@xxx\n", b"\n"),
        (b"From \n", b"\n"),
    ],
)
def test_every_writers_separator_is_seen(tmp_path: Path, separator: bytes, gap: bytes) -> None:
    box = tmp_path / "archive"
    box.write_bytes((separator + ONE.replace(b">From", b">>From") + gap) * 3)
    assert [each.mime for each in read_mail(box)] == [ONE] * 3


def test_a_line_of_text_that_begins_with_from_separates_nothing(tmp_path: Path) -> None:
    text = b"Subject: One\n\nHello\n\nFrom the start of the month\nwe meet.\nFrom Monday on\nNote: late\n"
    box = tmp_path / "archive.mbox"
    box.write_bytes(SEPARATOR + text)
    assert [each.mime for each in read_mail(box)] == [text]


def test_a_content_length_is_believed_only_if_a_separator_follows(tmp_path: Path) -> None:
    def counted(length: int) -> bytes:
        return b"Subject: One\nContent-Length: %d\n\n" % length + body

    body = b"Hello\n\nFrom kim@contoso.com Sat Mar  1 09:00:00 2025\n>From here\nX: y\n"
    box = tmp_path / "archive.mbox"
    box.write_bytes(SEPARATOR + counted(len(body)) + b"\n" + SEPARATOR + TWO)
    assert [each.mime for each in read_mail(box)] == [counted(len(body)), TWO]
    box.write_bytes(SEPARATOR + counted(8) + b"\n" + SEPARATOR + TWO)
    assert [each.mime for each in read_mail(box)] == [
        b"Subject: One\nContent-Length: 8\n\nHello\n",
        b">From here\nX: y\n".replace(b">", b""),
        TWO,
    ]


def test_a_maildir_gives_folders_and_flags(tmp_path: Path) -> None:
    for place in ("cur", "new", "tmp", ".Projects.K&APY-ln/cur", "Plain/cur"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "cur" / "1.host:2,FS").write_bytes(ONE)
    (tmp_path / "new" / "2.host").write_bytes(TWO)
    (tmp_path / "tmp" / "3.host").write_bytes(b"Half: written\n")
    (tmp_path / ".Projects.K&APY-ln" / "cur" / "4.host:2,").write_bytes(ONE)
    (tmp_path / "Plain" / "cur" / "5.host:2,R").write_bytes(ONE)
    found = {(each.folder, each.mime, each.flags) for each in read_mail(tmp_path)}
    assert found == {
        ("", ONE, frozenset({"flagged", "seen"})),
        ("", TWO, frozenset()),
        ("Projects/Köln", ONE, frozenset()),
        ("Plain", ONE, frozenset({"answered"})),
    }


def test_a_tree_of_files_keeps_its_folders_and_passes_over_what_is_no_mail(tmp_path: Path) -> None:
    (tmp_path / "2024" / "May").mkdir(parents=True)
    (tmp_path / "2024" / "May" / "a.eml").write_bytes(ONE)
    (tmp_path / "2024" / "Lists.mbox").write_bytes(SEPARATOR + ONE)
    (tmp_path / "b.eml").write_bytes(TWO)
    (tmp_path / "MANIFEST.tsv").write_bytes(b"path\tbytes: all of them\n")
    (tmp_path / "settings.yaml").write_bytes(b"tenant: contoso\nid: 1\n")
    (tmp_path / "2024" / "May" / "17").write_bytes(ONE)
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8:\x00")
    (tmp_path / ".index").write_bytes(ONE)
    found = {(each.folder, each.mime) for each in read_mail(tmp_path)}
    assert found == {("2024/May", ONE), ("2024/Lists", ONE.replace(b">", b"")), ("", TWO)}


def test_mail_from_files_is_filled_in_whole(tmp_path: Path) -> None:
    root, chosen = tmp_path / "mail", seats(4)
    places = ("Inbox", "inbox/Old", "Calendar", "Projects/2019", "A/B/C", "Sent Items", "D", "E")
    for place in places:
        (root / place).mkdir(parents=True)
        (root / place / "a.eml").write_bytes(b"Subject: " + place.encode() + b"\n\nText\n")
    store = Store(tmp_path / "store")
    furnish(store, chosen, 0, root, 0)
    found = [(folder, store.read(message)) for _, folder, message in store.everything()]
    store.close()
    assert {mime for _, mime in found} == {
        b"Subject: " + each.encode() + b"\r\n\r\nText\r\n" for each in places
    }
    assert all(folder.holds_mail for folder, _ in found)


def test_mail_from_files_is_received_when_it_was_sent(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(b"Date: Sat, 1 Mar 2025 09:00:00 +0100\n\nText\n")
    (tmp_path / "b.eml").write_bytes(b"Date: Sat, 1 Mar 2525 09:00:00 +0100\n\nText\n")
    before = datetime.now(UTC)
    store = Store(tmp_path / "store")
    furnish(store, seats(1), 0, tmp_path, 0)
    dated, impossible = [message.received_at for _, _, message in store.everything()]
    store.close()
    assert dated == datetime(2025, 3, 1, 8, tzinfo=UTC)
    assert before <= impossible <= datetime.now(UTC)


def test_nothing_lost_of_real_mail_files(corpus_dir: Path) -> None:
    with (corpus_dir / "MANIFEST.tsv").open(newline="", encoding="utf-8") as lines:
        told = {row["path"]: int(row["messages"] or 0) for row in csv.DictReader(lines, delimiter="\t")}
    single = [path for path, messages in told.items() if path.endswith(".eml") and messages == 1]
    assert len(single) > 1000
    for path in single:
        assert [each.mime for each in read_mail(corpus_dir / path)] == [(corpus_dir / path).read_bytes()]
    boxes = [path for path in told if path.endswith(".mbox")]
    found = sum(len(list(read_mail(corpus_dir / path))) for path in boxes)
    # The manifest counts lines that begin with From; some of them are text, some are damaged.
    assert abs(found - sum(told[path] for path in boxes)) <= 5


def test_bad_input_gets_a_clear_error_from_mail_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        list(read_mail(tmp_path / "nothing"))
