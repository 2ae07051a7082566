"""The Graph door beside Microsoft's own description of Graph, and example answers."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipelines.sandbox.faults import FaultKind
from tests.sandbox.graph_world import Box, mail, message_path
from tests.sandbox.openapi import Description
from tests.sandbox.test_graph_messages import ALTERNATIVE, ATTACHED, MEETING

pytestmark = pytest.mark.described

REFUSED = {
    "/users/{user-id}/messages/delta()": 400,
    "/users/{user-id}/mailFolders/{mailFolder-id}/childFolders/delta()": 400,
    "/users/{user-id}/mailFolders/{mailFolder-id}/messages/{message-id}/$value": 405,
}
"""Described, and not answered by Exchange Online; or, in the second case, by this door."""
BESIDE = {"sizeInBytes"}
"""Sent by Exchange Online without being described."""


@pytest.fixture(scope="module")
def description(graph_description: Path) -> Description:
    return Description(graph_description / "graph-mail-openapi.yaml")


@pytest.fixture
def furnished(box: Box) -> Box:
    """A mailbox with a bit of everything."""
    store = box.world.store
    store.create_folder(box.address, "Inbox/Below")
    store.create_folder(box.address, "Secret", hidden=True)
    store.create_folder(box.address, "Unread", search=True)
    box.deliver(b"Subject: unsent\r\n\r\n", "Drafts")
    box.deliver(mail(1, more=ALTERNATIVE, body=MEETING.format("REQUEST")))
    box.deliver(mail(2, more=ALTERNATIVE, body=MEETING.format("REPLY")))
    box.deliver(
        mail(3, more="Cc: a@b\r\nBcc: c@d\r\nReply-To: e@f\r\nImportance: high\r\n"), "Inbox", "flagged"
    )
    box.deliver(ATTACHED)
    return box


def one_spelling(answer: httpx.Response) -> Any:
    """An answer's JSON, where what Graph spells in several ways is spelled as described."""
    text = answer.text.replace('"innererror"', '"innerError"')
    for each in ("Request", "Response"):
        text = text.replace(f"#microsoft.graph.eventMessage{each}", "#microsoft.graph.eventMessage")
    return json.loads(text, strict=False)


def filled(path: str, box: Box) -> str:
    inbox = box.json("mailFolders/inbox")["id"]
    below = box.json("mailFolders/inbox/childFolders")["value"][0]["id"]
    message = box.json("mailFolders/inbox/messages?$filter=hasAttachments eq true")["value"][0]["id"]
    attachment = box.json(f"messages/{message}/attachments")["value"][0]["id"]
    for name, value in (
        ("{user-id}", box.address), ("{mailFolder-id1}", below), ("{mailFolder-id}", inbox),
        ("{message-id}", message), ("{attachment-id}", attachment),
    ):  # fmt: skip
        path = path.replace(name, value)
    return path


def test_every_described_request_is_answered_as_described(furnished: Box, description: Description) -> None:
    asked = 0
    for path, method, operation in description.operations():
        if method != "get":
            continue
        answer = furnished.get(furnished.world.root + filled(path, furnished))
        assert answer.status_code == REFUSED.get(path, 200), f"{path}: {answer.text}"
        asked += 1
        media, schema = description.answer(operation)
        if path in REFUSED:
            schema = description.named("microsoft.graph.ODataErrors.ODataError")
        elif media == "text/plain":
            assert answer.text.isdecimal()
            continue
        elif media != "application/json":
            continue
        value = one_spelling(answer)
        objections = [
            each for each in description.objections(schema, value) if not any(name in each for name in BESIDE)
        ]
        assert objections == [], path
    assert asked == 20


@pytest.mark.parametrize("ending", ["/messages", "/messages/{message-id}", "/mailFolders"])
def test_every_described_property_can_be_selected(
    furnished: Box, description: Description, ending: str
) -> None:
    """Relations are not properties, and neither are the two that a cast is needed for."""
    relations = {
        "attachments", "extensions", "multiValueExtendedProperties", "singleValueExtendedProperties",
        "childFolders", "messageRules", "messages",
    }  # fmt: skip
    path, operation = next(
        (p, o) for p, _, o in description.operations() if p == f"/users/{{user-id}}{ending}"
    )
    options = [description.resolved(each) for each in operation["parameters"]]
    named = next(each["schema"]["items"]["enum"] for each in options if each["name"] == "$select")
    for name in set(named) - relations:
        found = furnished.json(furnished.world.root + filled(path, furnished) + f"?$select={name}")
        shown = found.get("value", [found])
        assert any(name in each for each in shown), name


def test_errors_and_batches_are_as_described(furnished: Box, description: Description) -> None:
    error = description.named("microsoft.graph.ODataErrors.ODataError")
    for path in ("messages/nonsense", "mailFolders/outbox", "messages?$top=0"):
        assert description.objections(error, one_spelling(furnished.get(path))) == []
    batch = furnished.world.batch({"id": "1", "method": "GET", "url": f"/users/{furnished.address}/messages"})
    assert description.objections(description.named("batchResponse"), batch.json()) == []


def shape(value: Any) -> Any:
    """The names and types in an answer; a list has the names of all of its items."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        merged: dict[str, Any] = {}
        for each in value:
            if not isinstance(each, dict):
                return ["" if each is None else type(each).__name__]
            merged |= shape(each)
        return [merged]
    return None if value is None else type(value).__name__


def missing(expected: Any, found: Any, where: str = "") -> list[str]:
    """What an example has and the answer does not."""
    if isinstance(expected, dict) and isinstance(found, dict):
        gone = [f"{where}.{name}" for name in expected if name not in found]
        return gone + [
            each
            for name in expected.keys() & found.keys()
            for each in missing(expected[name], found[name], f"{where}.{name}")
        ]
    if isinstance(expected, list) and isinstance(found, list):
        return missing(expected[0], found[0], f"{where}[]") if expected and found else []
    if expected is None or found is None or expected == found:
        return []
    return [f"{where} is {found}, not {expected}"]


def one_way_and_the_other(example: Any, answer: httpx.Response) -> list[str]:
    value = one_spelling(answer)
    return missing(shape(example), shape(value)) + missing(shape(value), shape(example))


def archive(box: Box) -> Box:
    """The mailbox that the examples ask for."""
    store = box.world.store
    store.create_mailbox("archive@contoso.com")
    for path, role in (
        ("Inbox", "inbox"),
        ("Sent Items", "sent"),
        ("Deleted Items", "trash"),
        ("F1", "o"),
        ("F2", "o"),
    ):
        if path not in store.mailbox("archive@contoso.com").folders:
            store.create_folder("archive@contoso.com", path, role, hidden=path == "F1", search=path == "F2")
    return Box(box.world, "archive@contoso.com")


@pytest.fixture
def examples(graph_description: Path) -> dict[str, dict[str, Any]]:
    """By file: the request, the headers, and the answer."""
    folder = graph_description / "graph-examples"
    listed = json.loads((folder / "index.json").read_text())
    return {each["file"]: each | {"body": json.loads((folder / each["file"]).read_text())} for each in listed}


def check(example: dict[str, Any], answer: httpx.Response) -> None:
    assert answer.status_code == example["status"]
    assert one_way_and_the_other(example["body"], answer) == []
    for name, value in example["headers"].items():
        assert name in answer.headers
        if name != "Location":
            assert answer.headers[name] == value


def test_a_page_of_messages_and_of_folders_is_as_in_the_examples(box: Box, examples: dict[str, Any]) -> None:
    box = archive(box)
    box.deliver()
    box.deliver(ATTACHED)
    box.deliver(mail(1, more=ALTERNATIVE, body=MEETING.format("REQUEST")))
    example = examples["messages-page.json"]
    check(example, box.get(example["request"].partition("archive@contoso.com/")[2]))
    example = examples["mailfolders.json"]
    answer = box.get("mailFolders?includeHiddenFolders=true&$top=4")
    del example["body"]["@odata.nextLink"], example["headers"]
    searching = box.get("mailFolders?includeHiddenFolders=true").json()
    assert missing(shape(example["body"]), shape(searching)) == []
    assert answer.json()["@odata.nextLink"].endswith("&%24top=4&%24skip=4")


def test_pages_of_delta_are_as_in_the_examples(box: Box, examples: dict[str, Any]) -> None:
    box = archive(box)
    messages = [box.deliver(), box.deliver(), box.deliver()]
    box.prefer.append("odata.maxpagesize=2")
    path = "mailFolders/inbox/messages/delta"
    query = "?$select=id,subject,internetMessageId,isDraft,receivedDateTime,isRead"
    first = box.get(path + query.removesuffix(",isRead"))
    check(examples["delta-first-page.json"], first)
    box.fault(FaultKind.EMPTY, command="delta", times=1)
    check(examples["delta-empty-page.json"], box.get(first.json()["@odata.nextLink"]))
    _, link = box.round(path + query)
    box.world.store.delete(box.address, "Inbox", messages[0].uid)
    box.world.store.set_flags(box.address, "Inbox", messages[1].uid, frozenset({"seen"}))
    check(examples["delta-last-page-removed.json"], box.get(link))


def test_errors_are_as_in_the_examples(box: Box, examples: dict[str, Any]) -> None:
    box.fill(60)
    pages = box.pages("mailFolders/inbox/messages/delta")
    found = {
        "error-410-syncstate.json": box.get(pages[0]["@odata.nextLink"]),
        "error-404-item.json": box.get("messages/AAkA" + "x" * 68),
        "error-401-expired.json": box.get("mailFolders", token=box.world.token(seconds=-60)),
    }
    box.world.store.mailbox(box.address).granted = False
    found["error-403-access-denied.json"] = box.get("mailFolders")
    box.world.store.mailbox(box.address).granted = True
    box.fault(FaultKind.THROTTLE, seconds=10)
    found["error-429-mailbox-concurrency.json"] = box.get("mailFolders")
    assert found.keys() == {name for name in examples if name.startswith("error-4")}
    for name, answer in found.items():
        check(examples[name], answer)
        told, example = answer.json()["error"], examples[name]["body"]["error"]
        assert told["code"] == example["code"]
        if "410" not in name:
            assert told["message"] == example["message"]


def test_a_batch_and_a_translation_are_as_in_the_examples(box: Box, examples: dict[str, Any]) -> None:
    message = box.deliver()
    box.fault(FaultKind.THROTTLE, command="folders", seconds=4)
    url = f"/users/{box.address}"
    answer = box.world.batch(
        {"id": "1", "method": "GET", "url": f"{url}/{message_path(message)}?$select=id,internetMessageId",
         "headers": {"Prefer": 'IdType="ImmutableId"'}},
        {"id": "2", "method": "GET", "url": f"{url}/messages/AAkA{'x' * 68}"},
        {"id": "3", "method": "GET", "url": f"{url}/mailFolders"},
        {"id": "4", "method": "GET", "url": f"{url}/mailFolders", "dependsOn": ["3"]},
    )  # fmt: skip
    told = {each["id"]: each for each in one_spelling(answer)["responses"]}
    for example in examples["batch-mixed.json"]["body"]["responses"]:
        found = told[example["id"]]
        assert found["status"] == example["status"]
        assert missing(shape(example["body"]), shape(found["body"])) == []
        unsure = {"ETag", "OData-Version", "Preference-Applied"}
        assert example["headers"].keys() - unsure <= found["headers"].keys()
    body = {
        "inputIds": [message.mutable_id, "x"],
        "sourceIdType": "restId",
        "targetIdType": "restImmutableEntryId",
    }
    token = box.world.token(roles=("User.Read.All",))
    check(examples["translate-ids.json"], box.request("POST", "translateExchangeIds", json=body, token=token))
