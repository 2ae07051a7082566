"""How much may be asked at once: concurrency, budgets, batches."""

import time
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from pipelines.sandbox.faults import FaultKind
from tests.sandbox.graph_world import Box, code, mail, message_path

LARGE = mail(body="A line of text that is neither long nor short.\r\n" * 250_000)
"""More than the buffers between the door and its client hold."""


def at_once(box: Box, *paths: str) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(paths)) as threads:
        return list(threads.map(box.get, paths))


def test_a_fifth_request_at_a_time_is_turned_away(box: Box) -> None:
    box.fault(FaultKind.DELAY, seconds=0.3)
    answers = at_once(box, *["mailFolders"] * 6)
    assert sorted(each.status_code for each in answers) == [200] * 4 + [429] * 2
    refused = next(each for each in answers if each.status_code == 429)
    assert code(refused) == (429, "ApplicationThrottled")
    assert refused.json()["error"]["message"] == "Application is over its MailboxConcurrency limit."
    assert refused.headers["retry-after"] == "10"
    assert box.get("mailFolders").status_code == 200


def test_one_mailboxs_throttling_does_not_touch_another(box: Box) -> None:
    box.world.store.create_mailbox("neighbour@contoso.com")
    neighbour = Box(box.world, "neighbour@contoso.com")
    box.fault(FaultKind.DELAY, seconds=0.3)
    with ThreadPoolExecutor(8) as threads:
        work = [threads.submit(each.get, "mailFolders") for each in [box, neighbour] * 4]
    assert {each.result().status_code for each in work} == {200}


def test_a_client_that_keeps_four_in_flight_is_never_turned_away(box: Box) -> None:
    message = box.deliver(mail(body="x" * 300_000))
    with ThreadPoolExecutor(4) as threads:
        path = message_path(message, "/$value")
        answers = list(threads.map(lambda _: box.get(path).status_code, range(60)))
    assert set(answers) == {200}


def test_a_client_that_goes_away_leaves_its_place(box: Box) -> None:
    path = message_path(box.deliver(LARGE), "/$value")
    for _ in range(6):
        with box.stream(path) as answer:
            assert answer.status_code == 200
    deadline = time.monotonic() + 10
    while (answers := {each.status_code for each in at_once(box, *["mailFolders"] * 4)}) != {200}:
        assert time.monotonic() < deadline, answers


def test_a_large_message_that_is_read_slowly_holds_up_nobody(box: Box) -> None:
    path = message_path(box.deliver(LARGE), "/$value")
    with box.stream(path) as answer:
        chunks = answer.iter_raw(1 << 16)
        size = len(next(chunks))
        assert box.get("mailFolders").status_code == 200
        size += sum(map(len, chunks))
    assert size > len(LARGE)


def test_a_budget_is_used_up_also_by_what_is_refused(box: Box) -> None:
    box.world.door.settings.change(requests=5, window=60)
    statuses = [box.get("mailFolders").status_code for _ in range(8)]
    assert statuses == [200] * 5 + [429] * 3
    assert 50 <= float(box.get("mailFolders").headers["retry-after"]) <= 60


def test_a_budget_comes_back_with_the_next_window(box: Box) -> None:
    box.world.door.settings.change(requests=1, window=0.2)
    assert [box.get("mailFolders").status_code for _ in range(2)] == [200, 429]
    time.sleep(0.25)
    assert box.get("mailFolders").status_code == 200


def get(box: Box, name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "method": "GET", "url": f"/users/{box.address}/{path}", **more}


def answers(answer: httpx.Response) -> dict[str, dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    return {each["id"]: each for each in answer.json()["responses"]}


def test_a_batch_answers_each_request_by_itself(box: Box) -> None:
    message = box.deliver()
    found = answers(
        box.world.batch(
            get(box, "1", message_path(message), headers={"Prefer": 'IdType="ImmutableId"'}),
            get(box, "2", message_path(message)),
            get(box, "3", "messages/nonsense"),
            get(box, "4", message_path(message, "/$value")),
            get(box, "5", "messages/$count"),
        )
    )
    assert {name: each["status"] for name, each in found.items()} == {
        "1": 200, "2": 200, "3": 400, "4": 200, "5": 200,
    }  # fmt: skip
    assert found["1"]["body"]["id"] == message.immutable_id
    assert found["1"]["headers"]["Preference-Applied"] == 'IdType="ImmutableId"'
    assert found["2"]["body"]["id"] == message.mutable_id
    assert found["3"]["body"]["error"]["code"] == "ErrorInvalidIdMalformed"
    assert b64decode(found["4"]["body"]).startswith(b"Received: from mail.fabrikam.example")
    assert found["4"]["headers"]["Content-Type"] == "text/plain"
    assert b64decode(found["5"]["body"]) == b"1"


def test_answers_of_a_batch_come_in_no_order(box: Box) -> None:
    requests = [get(box, str(number), "mailFolders/inbox") for number in range(20)]
    came = [each["id"] for each in box.world.batch(*requests).json()["responses"]]
    assert came != sorted(came, key=int)
    assert sorted(came, key=int) == [str(number) for number in range(20)]


def test_a_batch_uses_up_the_mailboxs_concurrency(box: Box) -> None:
    box.fault(FaultKind.DELAY, command="folder", seconds=0.2)
    requests = [get(box, str(number), "mailFolders/inbox") for number in range(8)]
    with ThreadPoolExecutor(2) as threads:
        whole = threads.submit(box.world.batch, *requests)
        time.sleep(0.1)
        beside = threads.submit(box.get, "mailFolders/inbox")
    assert code(beside.result()) == (429, "ApplicationThrottled")
    assert {each["status"] for each in answers(whole.result()).values()} == {200}


def test_a_batch_beside_another_request_is_refused_in_part(box: Box) -> None:
    box.fault(FaultKind.DELAY, command="folder", seconds=0.3)
    with ThreadPoolExecutor(2) as threads:
        beside = threads.submit(box.get, "mailFolders/inbox")
        time.sleep(0.1)
        whole = threads.submit(box.world.batch, *[get(box, str(n), "mailFolders/inbox") for n in range(4)])
    assert beside.result().status_code == 200
    found = answers(whole.result())
    assert sorted(each["status"] for each in found.values()) == [200, 200, 200, 429]
    refused = next(each for each in found.values() if each["status"] == 429)
    assert refused["headers"]["Retry-After"] == "10"
    assert refused["body"]["error"]["code"] == "ApplicationThrottled"


def test_what_depends_on_a_failed_request_fails_with_it(box: Box) -> None:
    found = answers(
        box.world.batch(
            get(box, "1", "mailFolders/inbox"),
            get(box, "2", "messages/nonsense", dependsOn=["1"]),
            get(box, "3", "mailFolders/inbox", dependsOn=["2"]),
            get(box, "4", "mailFolders/inbox", dependsOn=["1", "3"]),
        )
    )
    assert {name: each["status"] for name, each in found.items()} == {"1": 200, "2": 400, "3": 424, "4": 424}
    assert found["3"]["body"]["error"]["code"] == "FailedDependency"


def test_requests_in_a_chain_run_one_after_the_other(box: Box) -> None:
    box.world.door.settings.concurrency = 1
    chain = [
        get(box, str(number), "mailFolders/inbox", dependsOn=[str(number - 1)] if number else [])
        for number in range(6)
    ]
    assert {each["status"] for each in answers(box.world.batch(*chain)).values()} == {200}


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [{"id": str(number), "method": "GET", "url": "/me"} for number in range(21)],
        [{"id": "1", "method": "GET", "url": "/me"}] * 2,
        [{"method": "GET", "url": "/me"}],
        [{"id": "1", "url": "/me"}],
        [{"id": 1, "method": "GET", "url": "/me"}],
        [{"id": "1", "method": "GET", "url": "https://graph.microsoft.com/v1.0/me"}],
        [{"id": "1", "method": "POST", "url": "/$batch"}],
        [{"id": "1", "method": "GET", "url": "/me", "dependsOn": ["2"]}],
        [{"id": "1", "method": "GET", "url": "/me", "dependsOn": [{}]}],
        [{"id": "1", "method": "GET", "url": "/me", "headers": "none"}],
        ["no request"],
    ],
)
def test_what_is_no_batch_is_refused_as_a_whole(box: Box, requests: list[Any]) -> None:
    assert code(box.world.batch(*requests)) == (400, "BadRequest")


def test_a_batch_needs_a_token(box: Box) -> None:
    answer = box.world.client.post(f"{box.world.root}/$batch", json={"requests": []})
    assert code(answer) == (401, "InvalidAuthenticationToken")
