"""What the sandbox is filled with: generated mail, and mail from files."""

from datetime import UTC, datetime
from pathlib import Path

from pipelines.mime import normalise
from pipelines.sandbox.mailgen import generate
from pipelines.sandbox.store import Store
from pipelines.sandbox.tenant import furnish, seats

KIM = "kim.akers@contoso.com"


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
