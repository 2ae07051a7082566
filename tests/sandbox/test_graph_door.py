"""Who gets into Graph, what is refused, and in which words."""

from random import Random

import pytest

from pipelines.sandbox.entra import OUTLOOK
from pipelines.sandbox.faults import FaultKind
from pipelines.sandbox.graph_settings import GraphSettings
from tests.sandbox.graph_world import IMMUTABLE, Box, code, message_path


def test_a_token_for_graph_with_the_role_opens_a_mailbox(box: Box) -> None:
    assert box.get("mailFolders").status_code == 200


@pytest.mark.parametrize(
    ("audience", "seconds", "text"),
    [
        (OUTLOOK, 600, "Access token validation failure. Invalid audience."),
        ("https://graph.microsoft.com", -60, "Lifetime validation failed, the token is expired."),
    ],
)
def test_a_wrong_token_is_named_with_401(box: Box, audience: str, seconds: float, text: str) -> None:
    answer = box.get("mailFolders", token=box.world.token(audience, seconds=seconds))
    assert code(answer) == (401, "InvalidAuthenticationToken")
    assert answer.json()["error"]["message"] == text
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer nonsense", "Basic a2ltOnBhc3M="])
def test_what_is_no_token_is_refused(box: Box, header: str) -> None:
    answer = box.world.client.get(f"{box.url}/mailFolders", headers={"Authorization": header})
    assert code(answer) == (401, "InvalidAuthenticationToken")


def test_a_token_without_the_role_is_refused_unless_rbac_grants_it(box: Box) -> None:
    token = box.world.token(roles=())
    assert code(box.get("mailFolders", token=token)) == (403, "ErrorAccessDenied")
    box.world.door.settings.roles_required = False
    assert box.get("mailFolders", token=token).status_code == 200


def test_a_mailbox_that_is_not_granted_is_refused_in_the_words_of_a_policy(box: Box) -> None:
    box.world.store.mailbox(box.address).granted = False
    answer = box.get("mailFolders")
    assert code(answer) == (403, "ErrorAccessDenied")
    assert answer.json()["error"]["message"] == "Access to OData is disabled."


def test_an_unknown_user_is_404(box: Box) -> None:
    answer = box.get(f"{box.world.root}/users/nobody@contoso.com/mailFolders")
    assert code(answer) == (404, "ErrorInvalidUser")
    assert "nobody@contoso.com" in answer.json()["error"]["message"]


def test_an_application_has_no_me(box: Box) -> None:
    assert code(box.get(f"{box.world.root}/me/messages")) == (400, "BadRequest")


@pytest.mark.parametrize("path", ["", "calendar", "mailFolders/inbox/rules", "messages/a/b/c/d"])
def test_what_is_not_there_is_a_bad_request(box: Box, path: str) -> None:
    assert code(box.get(path)) == (400, "BadRequest")


def test_an_option_that_odata_does_not_have_is_a_bad_request(box: Box) -> None:
    assert code(box.get("messages?$tpo=3")) == (400, "BadRequest")


def test_an_id_of_another_shape_is_malformed_and_an_unknown_one_is_not_found(box: Box) -> None:
    message = box.deliver()
    unknown = "AAkA" + "x" * 68
    for kind in ("messages", "mailFolders"):
        assert code(box.get(f"{kind}/1234")) == (400, "ErrorInvalidIdMalformed")
        assert code(box.get(f"{kind}/{unknown}")) == (404, "ErrorItemNotFound")
    assert box.get(message_path(message)).status_code == 200
    assert code(box.get(message_path(message).swapcase().replace("MESSAGES", "messages")))[0] in (400, 404)


def test_another_mailboxs_message_is_not_found(box: Box) -> None:
    other = box.world.store.create_mailbox("other@contoso.com")
    box.world.store.create_folder(other.address, "Inbox", "inbox")
    message = box.world.store.deliver(other.address, "Inbox", b"Subject: theirs\r\n\r\n")
    assert code(box.get(message_path(message, "/$value"))) == (404, "ErrorItemNotFound")


def test_an_error_carries_the_ids_that_support_asks_for(box: Box) -> None:
    answer = box.get("messages/1234", headers={"client-request-id": "mine"})
    error = answer.json()["error"]
    inner = error.get("innerError") or error["innererror"]
    assert inner["request-id"] == answer.headers["request-id"]
    assert inner["client-request-id"] == answer.headers["client-request-id"] == "mine"
    assert set(inner) == {"date", "request-id", "client-request-id"}


def test_the_inner_error_is_spelled_in_both_ways(box: Box) -> None:
    spelled = {name for _ in range(60) for name in box.get("messages/1234").json()["error"]}
    assert spelled == {"code", "message", "innerError", "innererror"}


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("path", ["messages", "mailFolders/inbox", "messages/1/move", "sendMail", "nothing"])
def test_read_only_is_audited_and_writing_refused(box: Box, method: str, path: str) -> None:
    answer = box.request(method, path, json={})
    assert code(answer) == (403, "ErrorAccessDenied")
    last = box.world.store.attempts[-1]
    assert (last.door, last.mailbox) == ("graph", box.address)
    assert last.command == f"{method} /users/{box.address}/{path}"


def test_read_only_is_audited_inside_a_batch_and_without_a_good_token(box: Box) -> None:
    before = len(box.world.store.attempts)
    box.world.batch({"id": "1", "method": "delete", "url": f"/users/{box.address}/messages/1"})
    assert code(box.request("DELETE", "messages/1", token="none")) == (401, "InvalidAuthenticationToken")
    assert [each.command[:6] for each in box.world.store.attempts[before:]] == ["DELETE", "DELETE"]


def test_reading_everything_is_no_attempt_to_write(box: Box) -> None:
    before = len(box.world.store.attempts)
    message = box.deliver()
    for path in (
        "mailFolders",
        "messages",
        "mailFolders/inbox/messages/delta",
        message_path(message, "/$value"),
    ):
        assert box.get(path).status_code == 200
    assert message.flags == set()
    assert len(box.world.store.attempts) == before


def test_keys_come_in_slashes_in_parentheses_and_percent_encoded(box: Box) -> None:
    message = box.deliver()
    assert message.immutable_id.endswith("=")
    assert message.mutable_id.endswith("=")
    encoded = message.immutable_id.replace("=", "%3D")
    for path in (
        f"/users/{box.address}/messages/{encoded}",
        f"/users/{box.address.replace('@', '%40')}/messages/{message.immutable_id}",
        f"/users('{box.address}')/messages('{encoded}')",
        f"/Users/{box.address.upper()}/mailfolders('Inbox')/Messages/{encoded}",
    ):
        answer = box.get(box.world.root + path)
        assert answer.status_code == 200, path
        assert answer.json()["subject"] == "Budget"


def test_an_address_with_an_apostrophe_is_doubled_in_parentheses(box: Box) -> None:
    box.world.store.create_mailbox("o'neil@contoso.com")
    for path in ("/users('o''neil@contoso.com')/mailFolders", "/users/o'neil@contoso.com/mailFolders"):
        assert box.get(box.world.root + path).status_code == 200


def test_bad_input_gets_a_clear_error_whatever_it_is(box: Box) -> None:
    """Every answer is one of Graph's: no strange request breaks the door."""
    message, chance = box.deliver(), Random(5)  # noqa: S311 - the same strange requests each time
    paths = [
        "mailFolders", "mailFolders/inbox/messages", "mailFolders/inbox/messages/delta", "mailFolders/delta",
        "messages", "messages/$count", message_path(message), message_path(message, "/attachments"),
        message_path(message, "/$value"), "mailFolders/msgfolderroot/messages/delta", "mailFolders('')",
        "messages/%00/$value", "mailFolders/inbox/childFolders/(", "%2F/%FF",
    ]  # fmt: skip
    names = [
        "$top",
        "$skip",
        "$select",
        "$filter",
        "$orderby",
        "$expand",
        "$count",
        "$deltatoken",
        "changeType",
    ]
    values = [
        "1", "-1", "²", "", "*", ",", "id", "subject desc", "receivedDateTime ge 9999-12-31",
        "isRead eq true", "receivedDateTime ge 0001-01-01T00:00:00+23:59", "latest", "YQ==", "attachments",
        "from/emailAddress/address eq 'x'", "body,body",
        "singleValueExtendedProperties($filter=id eq 'Integer 0x0E08')",
    ]  # fmt: skip
    for _ in range(250):
        options = {chance.choice(names): chance.choice(values) for _ in range(chance.randrange(4))}
        box.prefer = chance.choices([IMMUTABLE, "odata.maxpagesize=0", '="', ";", ",,"], k=2)
        answer = box.get(chance.choice(paths), params=options)
        assert answer.status_code == 200 or answer.json()["error"]["code"]
        assert answer.status_code < 500


def test_china_has_neither_delta_nor_internet_headers(box: Box) -> None:
    box.world.door.settings.change(cloud="china")
    for path in (
        "mailFolders/inbox/messages/delta",
        "mailFolders/delta()",
        "messages?$select=internetMessageHeaders",
    ):
        assert code(box.get(path)) == (400, "BadRequest")
    assert box.get("mailFolders/inbox/messages").status_code == 200


def test_us_government_does_not_translate_ids(box: Box) -> None:
    box.world.door.settings.change(cloud="us-gov")
    answer = box.request("POST", "translateExchangeIds", json={})
    assert code(answer) == (400, "BadRequest")


def test_requests_are_counted_by_endpoint(box: Box) -> None:
    message = box.deliver()
    before = box.world.faults.asked()["graph"]
    for path in (
        "mailFolders", "mailFolders/inbox", "mailFolders/inbox/childFolders", "mailFolders/delta", "messages",
        "messages/$count", "mailFolders/inbox/messages/delta", message_path(message),
        message_path(message, "/$value"), message_path(message, "/attachments"),
    ):  # fmt: skip
        assert box.get(path).status_code == 200
    box.world.batch({"id": "1", "method": "GET", "url": f"/users/{box.address}/mailFolders"})
    after = box.world.faults.asked()["graph"]
    assert {name: count - before.get(name, 0) for name, count in after.items()} == {
        **dict.fromkeys(before, 0),
        "FOLDERS": 3, "FOLDER": 1, "FOLDERS.DELTA": 1, "MESSAGES": 1, "$COUNT": 1, "DELTA": 1,
        "MESSAGE": 1, "$VALUE": 1, "ATTACHMENTS": 1, "$BATCH": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"speed": 1}, "speed is no setting"),
        ({"gzip": "no"}, "true or false"),
        ({"cloud": "moon"}, "moon"),
        ({"concurrency": "many"}, "many"),
    ],
)
def test_bad_input_gets_a_clear_error_from_the_settings(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GraphSettings().change(**given)


def test_bad_input_leaves_the_settings_as_they_were() -> None:
    settings = GraphSettings()
    with pytest.raises(ValueError, match="true or false"):
        settings.change(concurrency=1, gzip="no")
    assert settings == GraphSettings()


def test_answers_are_compressed_for_those_who_accept_it(box: Box) -> None:
    message = box.deliver()
    plain = box.get(message_path(message, "/$value"), headers={"Accept-Encoding": "identity"})
    small = box.get(message_path(message, "/$value"), headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert small.headers["content-encoding"] == "gzip"
    assert small.content == plain.content


def test_control_characters_stand_in_json_as_they_are(box: Box) -> None:
    box.deliver(b'Subject: x\r\n\r\nBell \x07 and \\u0007 and a "tab"\t.\r\n')
    answer = box.get("messages?$select=bodyPreview")
    assert b"Bell \x07 and \\\\u0007 and a" in answer.content
    with pytest.raises(ValueError, match="control character"):
        answer.json()
    assert box.json("messages")["value"][0]["bodyPreview"] == 'Bell \x07 and \\u0007 and a "tab"\t.'
    box.world.door.settings.control_characters = False
    assert box.get("messages").json()["value"][0]["bodyPreview"].startswith("Bell \x07")


def test_a_fault_of_a_token_is_an_expired_one(box: Box) -> None:
    box.fault(FaultKind.EXPIRE, times=1)
    assert code(box.get("mailFolders")) == (401, "InvalidAuthenticationToken")
    assert box.get("mailFolders").status_code == 200
