"""The Graph door told to misbehave: throttled, cut, short, unavailable, forgetful."""

import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from pipelines.sandbox.faults import FaultKind, RetryAfter
from tests.sandbox.graph_world import Box, code, mail, message_path


def test_throttling_says_how_long_to_wait_in_all_its_ways(box: Box) -> None:
    for given, shown in (
        ({"seconds": 7}, "7"),
        ({"seconds": 2.128}, "2.128"),
        ({"seconds": 300}, "300"),
        ({"retry_after": RetryAfter.NONE}, None),
    ):
        more: dict[str, Any] = given
        box.fault(FaultKind.THROTTLE, times=1, **more)
        answer = box.get("mailFolders")
        assert code(answer) == (429, "ApplicationThrottled")
        assert answer.headers.get("retry-after") == shown
    box.fault(FaultKind.THROTTLE, times=1, seconds=90, retry_after=RetryAfter.DATE)
    moment = parsedate_to_datetime(box.get("mailFolders").headers["retry-after"])
    assert timedelta(seconds=80) < moment - datetime.now(UTC) <= timedelta(seconds=91)


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (500, "ErrorMimeContentConversionFailed"),
        (500, "ErrorItemCorrupt"),
        (404, "MailboxNotEnabledForRESTAPI"),
        (410, "SyncStateInvalid"),
        (410, "resyncRequired"),
        (429, "TooManyRequests"),
        (503, "ErrorServerBusy"),
        (504, "UnknownError"),
        (507, "ErrorQuotaExceeded"),
    ],
)
def test_any_error_can_be_had(box: Box, status: int, name: str) -> None:
    box.fault(FaultKind.ERROR, times=1, status=status, code=name)
    answer = box.get("mailFolders")
    assert code(answer) == (status, name)
    assert answer.json()["error"]["message"]
    assert "retry-after" not in answer.headers


def test_an_error_may_ask_to_wait(box: Box) -> None:
    box.fault(FaultKind.ERROR, status=503, code="ErrorServerBusy", retry_after=RetryAfter.SECONDS, seconds=4)
    assert box.get("mailFolders").headers["retry-after"] == "4"


@pytest.mark.parametrize("status", [404, 500, 502, 503, 504])
def test_an_error_may_have_an_empty_body(box: Box, status: int) -> None:
    box.fault(FaultKind.ERROR, status=status)
    answer = box.get("mailFolders")
    assert (answer.status_code, answer.content) == (status, b"")
    assert "content-type" not in answer.headers


def test_unavailable_is_503_with_an_empty_body(box: Box) -> None:
    box.fault(FaultKind.UNAVAILABLE)
    assert (box.get("mailFolders").status_code, box.get("mailFolders").content) == (503, b"")


def test_a_refusal_is_403(box: Box) -> None:
    box.fault(FaultKind.REFUSE)
    assert code(box.get("mailFolders")) == (403, "ErrorAccessDenied")


def test_one_message_of_its_folder_cannot_be_converted(box: Box) -> None:
    good, bad = box.fill(2)
    box.fault(FaultKind.PLACEHOLDER, command="$value", uid=bad.uid, mailbox=box.address)
    assert box.get(message_path(good, "/$value")).status_code == 200
    answer = box.get(message_path(bad, "/$value"))
    assert code(answer) == (500, "ErrorMimeContentConversionFailed")
    assert box.get(message_path(bad)).status_code == 200
    assert box.get(message_path(bad, "/attachments")).status_code == 200


def test_a_stream_may_end_early_without_an_error(box: Box) -> None:
    path = message_path(box.deliver(mail(body="word " * 5000)), "/$value")
    whole = box.get(path).content
    for encoding in ("identity", "gzip"):
        box.fault(FaultKind.TRUNCATE, command="$value", bytes=1000, times=1)
        answer = box.get(path, headers={"Accept-Encoding": encoding})
        assert answer.status_code == 200
        assert answer.content == whole[:1000]


def test_a_stream_may_break_off(box: Box) -> None:
    path = message_path(box.deliver(mail(body="word " * 50_000)), "/$value")
    box.fault(FaultKind.DROP, command="$value", bytes=100_000, times=1)
    with box.stream(path) as answer:
        assert answer.status_code == 200
        chunks = answer.iter_raw()
        assert next(chunks)
        with pytest.raises(httpx.TransportError):
            list(chunks)
    assert box.get(path).status_code == 200


def test_a_compressed_stream_may_break_off(box: Box) -> None:
    path = message_path(box.deliver(mail(body="word " * 50_000)), "/$value")
    box.fault(FaultKind.DROP, command="$value", bytes=100, times=1)
    with pytest.raises((httpx.TransportError, zlib.error)):
        box.get(path)


def test_a_connection_may_be_reset_before_the_answer(box: Box) -> None:
    box.fault(FaultKind.DROP, times=1)
    with pytest.raises(httpx.TransportError):
        box.get("mailFolders")
    assert box.get("mailFolders").status_code == 200


def test_a_message_may_come_empty(box: Box) -> None:
    path = message_path(box.deliver(), "/$value")
    box.fault(FaultKind.EMPTY, command="$value", times=1)
    answer = box.get(path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert box.get(path).content


def test_a_delay_holds_up_this_answer_only(box: Box) -> None:
    box.fault(FaultKind.DELAY, command="folder", seconds=0.2)
    assert box.get("mailFolders/inbox").elapsed > timedelta(seconds=0.2)
    assert box.get("mailFolders").status_code == 200


def test_faults_reach_requests_inside_a_batch_and_the_batch_itself(box: Box) -> None:
    def ask() -> httpx.Response:
        url = f"/users/{box.address}/mailFolders"
        return box.world.batch(*({"id": str(number), "method": "GET", "url": url} for number in range(3)))

    box.fault(FaultKind.THROTTLE, command="folders", times=1, seconds=3)
    found = ask().json()["responses"]
    assert sorted(each["status"] for each in found) == [200, 200, 429]
    box.fault(FaultKind.DROP, command="folders", times=1)
    found = ask().json()["responses"]
    assert sorted(each["status"] for each in found) == [200, 200, 504]
    box.fault(FaultKind.THROTTLE, command="$batch", times=1)
    assert code(ask()) == (429, "ApplicationThrottled")
    box.fault(FaultKind.DROP, command="$batch", times=1, bytes=10)
    with pytest.raises(httpx.TransportError):
        ask()


def test_a_storm_is_a_matter_of_chance_and_passes_every_kind(box: Box) -> None:
    for kind in (FaultKind.THROTTLE, FaultKind.UNAVAILABLE, FaultKind.DROP):
        box.fault(kind, probability=0.11)
    came: Counter[object] = Counter()
    for _ in range(200):
        try:
            came[box.get("mailFolders/inbox").status_code] += 1
        except httpx.TransportError:
            came["reset"] += 1
    assert set(came) == {200, 429, 503, "reset"}
    assert 100 < came[200] < 180


def test_a_delta_link_may_be_forgotten_at_will(box: Box) -> None:
    box.fill(3)
    start = "mailFolders/inbox/messages/delta"
    _, link = box.round(start)
    box.fault(FaultKind.FORGET, command="delta")
    answer = box.get(link)
    assert code(answer) == (410, "SyncStateNotFound")
    assert answer.headers["location"].endswith("/messages/delta?$deltatoken=")
    assert box.get(start).status_code == 200
    box.world.faults.clear()
    assert box.get(link).status_code == 200
