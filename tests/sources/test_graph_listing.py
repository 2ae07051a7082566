"""From the JSON of a listed message to an entry."""

from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines.mime import identity_from_headers
from pipelines.sources.graph_listing import PROPERTIES, addresses, entry, instant, is_whole

ITEM: dict[str, Any] = {
    "@odata.etag": 'W/"0MwWE/CF469O8XmYE2meds5deCQGwlbnJqa4Ttmu"',
    "id": "AAkALgAAAAAAHYQDEapmEc2byACqAC-EWg0AymS9I2CQJgQS3gXAbCq_pEGXZW2L8Raj2PPh",
    "internetMessageId": "<20260819081502.4711@mail.fabrikam.example>",
    "subject": "Rechnung 2026-0815 für August",
    "from": {"emailAddress": {"name": "Fabrikam Billing", "address": "Billing@Fabrikam.example"}},
    "sender": {"emailAddress": {"name": "Robot", "address": "robot@fabrikam.example"}},
    "toRecipients": [{"emailAddress": {"name": "Kim", "address": "kim.akers@contoso.com"}}],
    "sentDateTime": "2026-08-19T08:15:02Z",
    "receivedDateTime": "2026-08-19T08:15:09Z",
    "lastModifiedDateTime": "2026-08-19T08:15:10Z",
    "isDraft": False,
    "isRead": False,
    "flag": {"flagStatus": "notFlagged"},
    "hasAttachments": True,
    "bodyPreview": "Guten Tag",
}


def test_an_entry_has_all_that_the_listing_tells() -> None:
    found = entry(ITEM)
    assert found.native_id == ITEM["id"]
    assert found.received_at == datetime(2026, 8, 19, 8, 15, 9, tzinfo=UTC)
    assert found.modified_at == datetime(2026, 8, 19, 8, 15, 10, tzinfo=UTC)
    assert (found.size, found.flags) == (None, ())
    assert found.identity
    assert found.identity.sender == "billing@fabrikam.example"
    assert found.identity.message_id == "20260819081502.4711@mail.fabrikam.example"


@pytest.mark.parametrize(
    ("header", "changed"),
    [
        ("", {}),
        ("Sender: robot@fabrikam.example\r\n", {}),
        (
            "From: <BILLING@fabrikam.example>\r\n",
            {"from": {"emailAddress": {"address": "BILLING@fabrikam.example"}}},
        ),
        ("From: Fabrikam\r\n", {"from": {"emailAddress": {"name": "Fabrikam", "address": ""}}}),
        ("From:\r\nSender: Robot <robot@fabrikam.example>\r\n", {"from": None}),
        ("From:\r\nSender:\r\n", {"from": None, "sender": None}),
        ("Subject:\r\n", {"subject": None}),
        ("Subject:\r\n", {"subject": ""}),
        ("Subject: two  spaces and\r\n a fold\r\n", {"subject": "two  spaces and a fold"}),
        ("Subject: =?utf-8?q?Z=C3=BCrich?=\r\n", {"subject": "Zürich"}),
        ("Date:\r\n", {"sentDateTime": None}),
        ("Date: Wed, 19 Aug 2026 10:15:02 +0200\r\n", {}),
        ("Date: Wed, 19 Aug 2026 08:15:02 +0000\r\n", {"sentDateTime": "2026-08-19T08:15:02.1234567Z"}),
        ("Message-ID: < spaced@out >\r\n", {"internetMessageId": "< spaced@out >"}),
        ("Message-ID: bare@id\r\n", {"internetMessageId": "bare@id"}),
        ("Message-ID:\r\n", {"internetMessageId": None}),
        ("Message-ID: <Case@Is.Kept>\r\n", {"internetMessageId": "<Case@Is.Kept>"}),
    ],
)
def test_the_identity_is_the_one_of_the_same_mails_header(header: str, changed: dict[str, Any]) -> None:
    usual = {
        "Message-ID": "<20260819081502.4711@mail.fabrikam.example>",
        "Date": "Wed, 19 Aug 2026 08:15:02 +0000",
        "From": "Fabrikam Billing <Billing@Fabrikam.example>",
        "Subject": "=?utf-8?q?Rechnung_2026-0815_f=C3=BCr_August?=",
    }
    given = {line.partition(":")[0] for line in header.split("\r\n") if not line.startswith(" ")}
    block = header + "".join(f"{name}: {value}\r\n" for name, value in usual.items() if name not in given)
    from_mime = identity_from_headers(block.encode())
    listed = entry(ITEM | changed).identity
    assert listed
    assert listed.header_key == from_mime.header_key
    assert (listed.message_id, listed.sender) == (from_mime.message_id, from_mime.sender)


@pytest.mark.parametrize(
    ("changed", "flags"),
    [
        ({"isRead": True}, ("seen",)),
        ({"isRead": "true"}, ("seen",)),
        ({"isRead": "false"}, ()),
        ({"flag": {"flagStatus": "flagged"}}, ("flagged",)),
        ({"flag": {"flagStatus": "complete"}}, ()),
        ({"flag": None}, ()),
        ({"isDraft": True, "isRead": True}, ("seen", "draft")),
    ],
)
def test_flags_are_in_imaps_words(changed: dict[str, Any], flags: tuple[str, ...]) -> None:
    assert entry(ITEM | changed).flags == flags


@pytest.mark.parametrize(
    "changed",
    [
        {"isRead": True},
        {"flag": {"flagStatus": "flagged"}},
        {"lastModifiedDateTime": "2026-09-01T00:00:00Z"},
        {"receivedDateTime": "2026-09-01T00:00:00Z"},
        {"@odata.etag": "another"},
    ],
)
def test_a_mere_flag_does_not_change_the_mark_of_the_content(changed: dict[str, Any]) -> None:
    assert entry(ITEM | changed).content_mark == entry(ITEM).content_mark


@pytest.mark.parametrize(
    "changed",
    [
        {"subject": "other"},
        {"bodyPreview": "other"},
        {"hasAttachments": False},
        {"internetMessageId": "<other@x>"},
        {"sentDateTime": "2026-08-19T08:15:03Z"},
        {"from": None},
        {"sender": None},
        {"toRecipients": []},
        {"isDraft": True},
    ],
)
def test_other_content_changes_the_mark(changed: dict[str, Any]) -> None:
    assert entry(ITEM | changed).content_mark != entry(ITEM).content_mark


def test_any_edit_of_a_draft_changes_its_mark() -> None:
    draft = ITEM | {"isDraft": True}
    later = draft | {"lastModifiedDateTime": "2026-09-01T00:00:00Z"}
    assert entry(draft).content_mark != entry(later).content_mark


@pytest.mark.parametrize(
    "item",
    [
        {"id": "A"},
        {"id": "A", "from": "nobody", "toRecipients": {"emailAddress": None}, "flag": [], "subject": None},
        {"id": "A", "sentDateTime": "soon", "receivedDateTime": 5, "lastModifiedDateTime": None},
    ],
)
def test_a_draft_with_hardly_anything_is_an_entry_too(item: dict[str, Any]) -> None:
    found = entry(item)
    assert found.native_id == "A"
    assert found.identity
    assert found.identity.header_key is None


def test_what_was_left_out_is_seen() -> None:
    assert is_whole(ITEM)
    assert is_whole({name: ITEM[name] for name in PROPERTIES if name not in ("from", "sender", "flag")})
    assert not is_whole({"id": "A", "isRead": True})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-08-19T08:15:09Z", datetime(2026, 8, 19, 8, 15, 9, tzinfo=UTC)),
        ("2026-08-19T10:15:09+02:00", datetime(2026, 8, 19, 8, 15, 9, tzinfo=UTC)),
        ("2026-08-19T08:15:09.5000000Z", datetime(2026, 8, 19, 8, 15, 9, 500_000, tzinfo=UTC)),
        ("2026-08-19T08:15:09", datetime(2026, 8, 19, 8, 15, 9, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("", None),
        (None, None),
        (20260819, None),
    ],
)
def test_dates_are_instants_in_utc(value: Any, expected: datetime | None) -> None:
    assert instant(value) == expected


def test_people_are_names_and_addresses() -> None:
    assert addresses(ITEM["from"]) == [("Fabrikam Billing", "Billing@Fabrikam.example")]
    assert addresses([{"emailAddress": {"address": "a@b"}}, {}, None]) == [("", "a@b")]
    assert addresses(None) == []
