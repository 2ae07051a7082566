"""Messages listed, searched, counted and read one by one, as Graph shows them."""

from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.sandbox.graph_world import IMMUTABLE, WHEN, Box, code, mail, message_path

ALTERNATIVE = "MIME-Version: 1.0\r\nContent-Type: multipart/alternative; boundary=b\r\n"
MEETING = (
    "--b\r\nContent-Type: text/plain\r\n\r\nCome\r\n--b\r\nContent-Type: text/calendar; method={0}\r\n\r\n"
    "BEGIN:VCALENDAR\r\nMETHOD:{0}\r\nBEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n--b--\r\n"
)
ATTACHED = mail(
    7,
    more="MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n",
    body="--b\r\nContent-Type: text/plain\r\n\r\nSee below\r\n"
    "--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n"
    "Content-Disposition: attachment; filename*=utf-8''M%C3%BCller.pdf\r\n\r\nAAEC/w==\r\n"
    "--b\r\nContent-Type: image/png\r\nContent-ID: <logo@x>\r\nContent-Disposition: inline\r\n\r\npng\r\n"
    "--b\r\nContent-Type: message/rfc822\r\n\r\n"
    "Subject: Inside\r\nMessage-ID: <in@x>\r\n\r\nInner\r\n--b--\r\n",
)


def ids(found: dict[str, Any]) -> list[str]:
    return [each["id"] for each in found["value"]]


def test_the_newest_ten_come_first(box: Box) -> None:
    messages = box.fill(25)
    pages = box.pages("mailFolders/inbox/messages")
    assert [len(each["value"]) for each in pages] == [10, 10, 5]
    assert [each for page in pages for each in ids(page)] == [
        each.immutable_id for each in reversed(messages)
    ]
    assert len(ids(box.json("messages?$top=1000"))) == 25


def test_skip_over_a_folder_that_changes_leaves_out_and_repeats(box: Box) -> None:
    messages = box.fill(20)
    first = box.json("mailFolders/inbox/messages")
    box.world.store.delete(box.address, "Inbox", messages[-1].uid)
    second = box.json(first["@odata.nextLink"])
    skipped = {each.immutable_id for each in messages} - set(ids(first)) - set(ids(second))
    assert skipped == {messages[9].immutable_id}


def test_links_keep_what_was_asked_for(box: Box) -> None:
    box.fill(5)
    query = {"$select": "subject", "$top": "2", "$filter": "receivedDateTime ge 2026-03-02T10:22:30Z"}
    first = box.json("mailFolders/inbox/messages", params=query)
    assert "%24select=subject" in first["@odata.nextLink"]
    pages = box.pages(first["@odata.nextLink"])
    assert [len(each["value"]) for each in pages] == [1]
    assert set(pages[0]["value"][0]) == {"@odata.etag", "id", "subject"}


@pytest.mark.parametrize("path", ["messages?$top=0", "messages?$top=1001", "messages?$skip=x"])
def test_a_number_out_of_bounds_is_refused(box: Box, path: str) -> None:
    assert code(box.get(path)) == (400, "BadRequest")


def test_ids_are_immutable_only_when_preferred(box: Box) -> None:
    message = box.deliver()
    answer = box.get("messages")
    assert ids(answer.json()) == [message.immutable_id]
    assert answer.headers["preference-applied"] == IMMUTABLE
    box.prefer = []
    answer = box.get("messages")
    assert ids(answer.json()) == [message.mutable_id]
    assert "preference-applied" not in answer.headers
    assert (len(message.immutable_id), len(message.mutable_id)) == (72, 152)
    for named in (message.immutable_id, message.mutable_id):
        assert box.json(f"messages/{named}")["id"] == message.mutable_id


def test_a_move_ends_the_mutable_id_and_keeps_the_immutable_one(box: Box) -> None:
    message = box.deliver()
    before = message.mutable_id
    box.world.store.move(box.address, "Inbox", message.uid, "Archive")
    assert code(box.get(f"messages/{before}")) == (404, "ErrorItemNotFound")
    moved = box.json(message_path(message))
    assert moved["parentFolderId"] == box.json("mailFolders/archive")["id"]
    assert code(box.get(f"mailFolders/inbox/{message_path(message)}")) == (404, "ErrorItemNotFound")
    assert box.get(f"mailFolders/archive/{message_path(message)}").status_code == 200


def test_several_preferences_come_in_one_header_or_in_several(box: Box) -> None:
    message = box.deliver()
    box.prefer = []
    for given in (
        [("Prefer", f'odata.maxpagesize=5,{IMMUTABLE}, outlook.body-content-type = "text"')],
        [("Prefer", 'outlook.body-content-type="text"'), ("prefer", "idtype=immutableid")],
    ):
        headers = [("Authorization", f"Bearer {box.world.token()}"), *given]
        answer = box.world.client.get(f"{box.url}/messages", headers=headers)
        assert ids(answer.json()) == [message.immutable_id]
        assert answer.json()["value"][0]["body"] == {"contentType": "text", "content": "Hello\r\n"}
        applied = answer.headers["preference-applied"]
        assert IMMUTABLE in applied
        assert 'outlook.body-content-type="text"' in applied


def test_every_message_of_the_mailbox_is_listed_but_hidden_ones(box: Box) -> None:
    box.world.store.create_folder(box.address, "Secret", hidden=True)
    box.world.store.create_folder(box.address, "Unread", search=True)
    shown = [box.deliver(), box.deliver(None, "Archive")]
    box.deliver(None, "Secret")
    assert set(ids(box.json("messages"))) == {each.immutable_id for each in shown}
    assert box.get("messages/$count").text == "2"


def test_count_is_text_and_takes_a_filter(box: Box) -> None:
    box.fill(5)
    answer = box.get("mailFolders/inbox/messages/$count")
    assert (answer.text, answer.headers["content-type"]) == ("5", "text/plain")
    query = {"$filter": "receivedDateTime lt 2026-03-02T10:22:30Z"}
    assert box.get("mailFolders/inbox/messages/$count", params=query).text == "2"
    assert box.json("messages?$count=true&$top=2")["@odata.count"] == 5


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("receivedDateTime ge 2026-03-02T10:22:30Z", [4, 3, 2]),
        ("receivedDateTime gt 2026-03-02T10:22:30Z", [4, 3]),
        ("receivedDateTime le 2026-03-02T10:22:30Z", [2, 1, 0]),
        ("receivedDateTime ge 2026-03-02T10:21:30Z and receivedDateTime lt 2026-03-02T10:23:30Z", [2, 1]),
        ("(receivedDateTime ge 2026-03-02) and (receivedDateTime lt 2026-03-02T11:21:30+01:00)", [0]),
        ("internetMessageId eq '<3@fabrikam.example>'", [3]),
        ("isRead eq false and internetMessageId eq '<0@fabrikam.example>'", [0]),
        ("isRead eq true", []),
        ("subject eq 'Budget' and hasAttachments eq false", [4, 3, 2, 1, 0]),
        ("from/emailAddress/address ne 'lee@fabrikam.example'", []),
    ],
)  # fmt: skip
def test_a_filter_finds(box: Box, given: str, found: list[int]) -> None:
    messages = box.fill(5)
    shown = box.json("mailFolders/inbox/messages", params={"$filter": given})
    assert ids(shown) == [messages[number].immutable_id for number in found]


def test_windows_of_received_time_share_no_message_and_miss_none(box: Box) -> None:
    """Fractions of a second, which the store keeps and Graph does not show, make no difference."""
    store = box.world.store
    for milliseconds in (0, 1, 999, 1000):
        store.deliver(box.address, "Inbox", mail(), WHEN + timedelta(milliseconds=milliseconds))
    boundary = WHEN.strftime("%Y-%m-%dT%H:%M:%SZ")
    after = (WHEN + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    windows = [
        f"receivedDateTime lt {boundary}",
        f"receivedDateTime ge {boundary} and receivedDateTime lt {after}",
        f"receivedDateTime ge {after}",
    ]
    counts = [box.get("messages/$count", params={"$filter": each}).text for each in windows]
    assert counts == ["0", "3", "1"]


@pytest.mark.parametrize(
    "given",
    [
        "receivedDateTime ge yesterday", "receivedDateTime ge '2026-03-02'", "contains(subject,'x')",
        "internetMessageId gt '<1>'", "size gt 3", "isRead eq false or isDraft eq true", "isRead eq 1",
        "receivedDateTime ge 2026-03-02T10:22:30Z and", "and", "body eq 'x'", "subject eq 'O'Neil'",
    ],
)  # fmt: skip
def test_what_exchange_does_not_search_by_is_refused(box: Box, given: str) -> None:
    assert code(box.get("messages", params={"$filter": given})) == (400, "ErrorInvalidUrlQueryFilter")


def test_an_apostrophe_is_doubled_and_a_plus_needs_its_code(box: Box) -> None:
    box.deliver(b"Message-ID: <o'neil+1@x>\r\n\r\n")
    found = box.get("messages/$count?$filter=internetMessageId eq '%3Co''neil%2B1@x%3E'")
    assert found.text == "1"
    assert box.get("messages/$count?$filter=internetMessageId eq '<o''neil+1@x>'").text == "0"


def test_what_is_sorted_by_has_to_come_first_in_the_filter(box: Box) -> None:
    messages = box.fill(3)
    sorted_only = box.json("messages?$orderby=receivedDateTime")
    assert ids(sorted_only) == [each.immutable_id for each in messages]
    both = {"$orderby": "receivedDateTime asc"}
    for given in (
        "receivedDateTime ge 2026-01-01T00:00:00Z",
        "receivedDateTime ge 2026-01-01 and isRead eq false",
    ):
        assert ids(box.json("messages", params=both | {"$filter": given})) == ids(sorted_only)
    for given in ("isRead eq false", "isRead eq false and receivedDateTime ge 2026-01-01T00:00:00Z"):
        assert code(box.get("messages", params=both | {"$filter": given})) == (400, "InefficientFilter")
    assert code(box.get("messages?$orderby=body")) == (400, "ErrorInvalidProperty")


def test_a_message_tells_what_it_is(box: Box) -> None:
    message = box.deliver(
        mail(
            3, "Gr\u00fc\u00dfe", "One\r\nTwo\r\n", "Cc: =?utf-8?Q?Zo=C3=AB?= <z@x>\r\nIMPORTANCE: High\r\n"
        ),
        "Inbox",
        "flagged",
    )
    shown = box.json(message_path(message))
    assert shown["subject"] == "Grüße"
    assert shown["internetMessageId"] == "<3@fabrikam.example>"
    assert (shown["receivedDateTime"], shown["sentDateTime"]) == (
        "2026-03-02T10:20:30Z",
        "2026-03-02T10:20:00Z",
    )
    assert (
        shown["from"]
        == shown["sender"]
        == {"emailAddress": {"name": "Lee Gu", "address": "lee@fabrikam.example"}}
    )
    assert shown["toRecipients"][0]["emailAddress"]["name"] == "kim.akers@contoso.com"
    assert shown["ccRecipients"] == [{"emailAddress": {"name": "Zoë", "address": "z@x"}}]
    assert shown["flag"] == {"flagStatus": "flagged"}
    assert shown["importance"] == "high"
    assert (shown["isRead"], shown["isDraft"], shown["hasAttachments"]) == (False, False, False)
    assert shown["bodyPreview"] == "One\r\nTwo"
    assert "internetMessageHeaders" not in shown
    assert "@odata.type" not in shown
    assert shown["@odata.etag"] == f'W/"{shown["changeKey"]}"'


def test_what_a_draft_lacks_is_null(box: Box) -> None:
    message = box.deliver(b"To: a@b\r\n\r\nNot yet\r\n", "Drafts")
    shown = box.json(message_path(message))
    assert shown["isDraft"]
    assert [shown[name] for name in ("subject", "internetMessageId", "from", "sentDateTime")] == [None] * 4


def test_a_change_shows_in_change_key_and_last_modified(box: Box) -> None:
    message = box.deliver()
    before = box.json(message_path(message))
    assert before["lastModifiedDateTime"] == "2026-03-02T10:20:30Z"
    box.world.store.set_flags(box.address, "Inbox", message.uid, frozenset({"seen"}))
    after = box.json(message_path(message))
    assert after["isRead"]
    assert after["changeKey"] != before["changeKey"]
    modified = datetime.fromisoformat(after["lastModifiedDateTime"])
    assert abs(datetime.now(UTC) - modified) < timedelta(minutes=1)


def test_a_body_is_html_unless_text_is_preferred(box: Box) -> None:
    html = mail(1, body="<p>Bold &amp; <b>brave</b></p>\r\n", more="Content-Type: text/html\r\n")
    plain = mail(2, body="1 < 2\r\nyes\r\n")
    paths = [message_path(box.deliver(each)) + "?$select=body" for each in (html, plain)]
    shown = [box.json(path)["body"] for path in paths]
    assert shown[0] == {"contentType": "html", "content": "<p>Bold &amp; <b>brave</b></p>\r\n"}
    assert shown[1]["contentType"] == "html"
    assert "1 &lt; 2<br>\r\nyes" in shown[1]["content"]
    box.prefer.append('outlook.body-content-type="text"')
    assert [box.json(path)["body"]["content"] for path in paths] == ["Bold & brave", "1 < 2\r\nyes\r\n"]


def test_internet_headers_come_only_when_selected_and_not_for_mail_that_never_travelled(box: Box) -> None:
    path = "?$select=internetMessageHeaders"
    folded = mail(1, more="X-Long: a\r\n\tb\r\nX-Note: =?utf-8?Q?=C3=A9?=\r\n")
    shown = box.json(message_path(box.deliver(folded)) + path)["internetMessageHeaders"]
    named = [(each["name"], each["value"]) for each in shown]
    assert named[0][0] == "Received"
    assert ("X-Long", "a\tb") in named
    assert ("X-Note", "=?utf-8?Q?=C3=A9?=") in named
    sent = box.deliver(mail().partition(b"\r\n")[2], "Sent Items")
    assert "internetMessageHeaders" not in box.json(message_path(sent) + path)


@pytest.mark.parametrize(
    ("method", "kind", "meeting"),
    [
        ("REQUEST", "eventMessageRequest", "meetingRequest"),
        ("REPLY", "eventMessageResponse", "meetingAccepted"),
        ("CANCEL", "eventMessage", "meetingCancelled"),
    ],
)
def test_a_meeting_message_has_a_type(box: Box, method: str, kind: str, meeting: str) -> None:
    message = box.deliver(mail(1, more=ALTERNATIVE, body=MEETING.format(method)))
    shown = box.json(message_path(message))
    assert shown["@odata.type"] == f"#microsoft.graph.{kind}"
    assert shown["meetingMessageType"] == meeting
    assert not shown["hasAttachments"]
    assert box.json("messages?$select=id")["value"][0]["@odata.type"] == f"#microsoft.graph.{kind}"


@pytest.mark.parametrize(
    ("reply", "meeting"),
    [
        ("ACCEPTED", "meetingAccepted"),
        ("TENTATIVE", "meetingTenativelyAccepted"),
        ("DECLINED", "meetingDeclined"),
    ],
)
def test_a_reply_to_a_meeting_says_which(box: Box, reply: str, meeting: str) -> None:
    calendar = MEETING.format("REPLY").replace("UID:1", f"UID:1\r\nATTENDEE;PARTSTAT={reply}:mailto:a@b")
    message = box.deliver(mail(1, more=ALTERNATIVE, body=calendar))
    assert box.json(message_path(message))["meetingMessageType"] == meeting


def test_a_calendar_that_is_attached_makes_no_meeting(box: Box) -> None:
    attached = mail(1, more=ALTERNATIVE, body=MEETING.format("REQUEST")).replace(b"alternative", b"mixed")
    message = box.deliver(attached)
    shown = box.json(message_path(message))
    assert "@odata.type" not in shown
    assert shown["hasAttachments"]
    found = box.json(message_path(message, "/attachments"))["value"]
    assert [each["contentType"] for each in found] == ["text/calendar"]


def test_attachments_are_files_and_items(box: Box) -> None:
    message = box.deliver(ATTACHED)
    assert box.json(message_path(message))["hasAttachments"]
    pdf, png, item = box.json(message_path(message, "/attachments"))["value"]
    assert (pdf["@odata.type"], pdf["name"]) == ("#microsoft.graph.fileAttachment", "Müller.pdf")
    assert b64decode(pdf["contentBytes"]) == b"\0\1\2\xff"
    assert (png["isInline"], png["contentId"], pdf["isInline"]) == (True, "logo@x", False)
    assert (item["@odata.type"], item["name"]) == ("#microsoft.graph.itemAttachment", "Inside")
    assert "contentBytes" not in item
    one = message_path(message, f"/attachments/{pdf['id']}")
    assert box.json(one)["contentBytes"] == pdf["contentBytes"]
    assert box.get(f"{one}/$value").content == b"\0\1\2\xff"
    inner = box.get(message_path(message, f"/attachments/{item['id']}/$value")).text
    assert inner.startswith("Subject: Inside\r\nMessage-ID: <in@x>\r\nMIME-Version: 1.0\r\n")
    assert code(box.get(message_path(message, "/attachments/AAMk"))) == (404, "ErrorItemNotFound")
    assert set(box.json(f"{one}?$select=name")) >= {"id", "name"}
    assert code(box.get(f"{one}?$select=subject")) == (400, "BadRequest")
    shown = box.json(message_path(message) + "?$expand=attachments&$select=id")
    assert [each["id"] for each in shown["attachments"]] == [pdf["id"], png["id"], item["id"]]


def test_inline_attachments_alone_do_not_count(box: Box) -> None:
    inline = ATTACHED.replace(b"application/pdf", b"image/gif\r\nContent-ID: <a@x>").replace(
        b": attachment", b": inline"
    )
    inline = inline.replace(b"message/rfc822", b"image/gif\r\nContent-ID: <b@x>")
    message = box.deliver(inline)
    assert not box.json(message_path(message))["hasAttachments"]
    assert len(box.json(message_path(message, "/attachments"))["value"]) == 3


def test_extended_properties_are_named_in_short_hexadecimal(box: Box) -> None:
    message = box.deliver(mail(), "Inbox", "seen")
    tags = ("Integer 0x0E08", "Integer 0x0E07", "String 0x001A", "String 0x007D", "Integer 0x0E23")
    wanted = " or ".join(f"id eq '{each}'" for each in tags)
    query = {"$expand": f"singleValueExtendedProperties($filter={wanted})", "$select": "id"}
    found = {
        each["id"]: each["value"]
        for each in box.json("messages", params=query)["value"][0]["singleValueExtendedProperties"]
    }
    assert set(found) == {"Integer 0xe08", "Integer 0xe07", "String 0x1a", "String 0x7d"}
    assert int(found["Integer 0xe08"]) > message.size
    assert (found["Integer 0xe07"], found["String 0x1a"]) == ("1", "IPM.Note")


def test_an_unknown_property_is_refused(box: Box) -> None:
    assert code(box.get("messages?$select=size")) == (400, "BadRequest")
    box.deliver()
    assert code(box.get("messages?$expand=extensions")) == (400, "BadRequest")
    assert "body" in box.json("messages?$select=*")["value"][0]
    assert set(box.json("messages?$select=ISREAD")["value"][0]) == {"@odata.etag", "id", "isRead"}


def test_ids_are_translated_one_by_one(box: Box) -> None:
    message = box.deliver()
    token = box.world.token(roles=("Mail.Read", "User.Read.All"))

    def ask(ids: list[str], source: str, target: str) -> list[dict[str, Any]]:
        body = {"inputIds": ids, "sourceIdType": source, "targetIdType": target}
        answer = box.request("POST", "translateExchangeIds", json=body, token=token)
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["value"]
        return found

    good, bad = ask([message.mutable_id, "nonsense"], "restId", "restImmutableEntryId")
    assert good == {"sourceId": message.mutable_id, "targetId": message.immutable_id}
    assert bad["errorDetails"]["code"] == "ErrorInvalidIdMalformed"
    assert "targetId" not in bad
    wrong_format = ask([message.immutable_id], "restId", "restImmutableEntryId")
    assert "targetId" not in wrong_format[0]
    ews = ask([message.immutable_id], "restImmutableEntryId", "ewsId")[0]["targetId"]
    assert not set(ews) & set("-_")
    assert ask([ews], "ewsId", "restId")[0]["targetId"] == message.mutable_id


@pytest.mark.parametrize(
    "body",
    [{}, [], {"inputIds": "x", "sourceIdType": "restId", "targetIdType": "ewsId"},
     {"inputIds": [], "sourceIdType": "restId", "targetIdType": "mine"},
     {"inputIds": [], "sourceIdType": [], "targetIdType": "restId"},
     {"inputIds": ["x"] * 1001, "sourceIdType": "restId", "targetIdType": "ewsId"}],
)  # fmt: skip
def test_a_translation_has_to_be_well_formed(box: Box, body: object) -> None:
    token = box.world.token(roles=("User.Read.All",))
    assert box.request("POST", "translateExchangeIds", json=body, token=token).status_code == 400


def test_a_translation_needs_a_role_of_its_own(box: Box) -> None:
    assert code(box.request("POST", "translateExchangeIds", json={})) == (403, "ErrorAccessDenied")
