"""Graph's answers, as they come, and what they are taken for."""

import json
from datetime import UTC, datetime

import pytest

from pipelines.errors import MailboxRefusedError, MailoverError, SignInError, ThrottledError, TransientError
from pipelines.sources.graph_faults import AnswerRefusedError, Kind, fault_of, retry_after
from pipelines.sources.graph_requests import Answer

MAILBOX = "kim.akers@contoso.com"
NOW = datetime(2026, 8, 20, 9, 31, 7, tzinfo=UTC)


def answer(status: int, code: str | None = None, inner: str | None = None, **headers: str) -> Answer:
    told: dict[str, object] = {"code": code, "message": "confidential words of confidential@contoso.com"}
    if inner:
        told["innererror"] = {"code": inner, "date": "2026-08-20T09:31:07"}
    shown = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, shown, json.dumps({"error": told}).encode() if code else b"")


ROWS: list[tuple[int, str | None, Kind, type[MailoverError]]] = [
    (400, "ErrorInvalidIdMalformed", Kind.WRONG_REQUEST, AnswerRefusedError),
    (400, "BadRequest", Kind.WRONG_REQUEST, AnswerRefusedError),
    (400, "ErrorInvalidRequest", Kind.WRONG_REQUEST, AnswerRefusedError),
    (400, "InefficientFilter", Kind.WRONG_REQUEST, AnswerRefusedError),
    (405, "ErrorInvalidRequest", Kind.WRONG_REQUEST, AnswerRefusedError),
    (501, "NotImplemented", Kind.WRONG_REQUEST, AnswerRefusedError),
    (302, None, Kind.WRONG_REQUEST, AnswerRefusedError),
    (401, "InvalidAuthenticationToken", Kind.TOKEN, SignInError),
    (401, "AuthenticationError", Kind.TOKEN, SignInError),
    (401, None, Kind.TOKEN, SignInError),
    (403, "AuthenticationError", Kind.DENIED, MailboxRefusedError),
    (403, "ErrorAccessDenied", Kind.DENIED, MailboxRefusedError),
    (403, "Authorization_RequestDenied", Kind.DENIED, MailboxRefusedError),
    (403, "extensionError", Kind.DENIED, MailboxRefusedError),
    (403, None, Kind.DENIED, MailboxRefusedError),
    (404, "ErrorItemNotFound", Kind.NOT_FOUND, AnswerRefusedError),
    (404, "ErrorFolderNotFound", Kind.NOT_FOUND, AnswerRefusedError),
    (404, "ErrorSyncFolderNotFound", Kind.NOT_FOUND, AnswerRefusedError),
    (404, "SomethingNew", Kind.NOT_FOUND, AnswerRefusedError),
    (404, None, Kind.UNEXPLAINED, TransientError),
    (404, "MailboxNotEnabledForRESTAPI", Kind.NO_MAILBOX, MailboxRefusedError),
    (404, "ErrorInvalidUser", Kind.NO_MAILBOX, MailboxRefusedError),
    (404, "ResourceNotFound", Kind.NO_MAILBOX, MailboxRefusedError),
    (404, "Request_ResourceNotFound", Kind.NO_MAILBOX, MailboxRefusedError),
    (404, "ErrorNonExistentMailbox", Kind.NO_MAILBOX, MailboxRefusedError),
    (410, "SyncStateNotFound", Kind.EXPIRED, AnswerRefusedError),
    (410, "SyncStateInvalid", Kind.EXPIRED, AnswerRefusedError),
    (410, "ResyncRequired", Kind.EXPIRED, AnswerRefusedError),
    (410, "resyncRequired", Kind.EXPIRED, AnswerRefusedError),
    (410, None, Kind.EXPIRED, AnswerRefusedError),
    (400, "syncStateNotFound", Kind.EXPIRED, AnswerRefusedError),
    (404, "syncstatenotfound", Kind.EXPIRED, AnswerRefusedError),
    (423, "resourceLocked", Kind.BUSY, TransientError),
    (409, "ErrorIrresolvableConflict", Kind.BUSY, TransientError),
    (429, "ApplicationThrottled", Kind.THROTTLED, ThrottledError),
    (429, "TooManyRequests", Kind.THROTTLED, ThrottledError),
    (429, "activityLimitReached", Kind.THROTTLED, ThrottledError),
    (429, "UnknownError", Kind.THROTTLED, ThrottledError),
    (429, None, Kind.THROTTLED, ThrottledError),
    (500, "ErrorMimeContentConversionFailed", Kind.NOT_CONVERTIBLE, AnswerRefusedError),
    (500, "ErrorContentConversionFailed", Kind.NOT_CONVERTIBLE, AnswerRefusedError),
    (500, "ErrorMimeContentInvalid", Kind.NOT_CONVERTIBLE, AnswerRefusedError),
    (500, "ErrorUnsupportedMimeConversion", Kind.NOT_CONVERTIBLE, AnswerRefusedError),
    (500, "ErrorItemCorrupt", Kind.CORRUPT, AnswerRefusedError),
    (500, "ErrorCorruptData", Kind.CORRUPT, AnswerRefusedError),
    (500, "ErrorInvalidRecipients", Kind.CORRUPT, AnswerRefusedError),
    (500, "ErrorInternalServerTransientError", Kind.BUSY, TransientError),
    (503, "ErrorMailboxStoreUnavailable", Kind.BUSY, TransientError),
    (503, "ErrorMailboxMoveInProgress", Kind.BUSY, TransientError),
    (503, "ErrorServerBusy", Kind.BUSY, TransientError),
    (500, "ErrorTooManyObjectsOpened", Kind.BUSY, TransientError),
    (500, "ErrorTimeoutExpired", Kind.BUSY, TransientError),
    (500, "ErrorConnectionFailed", Kind.BUSY, TransientError),
    (503, "ErrorMailboxFailover", Kind.BUSY, TransientError),
    (500, "UnknownError", Kind.BUSY, TransientError),
    (502, None, Kind.BUSY, TransientError),
    (503, None, Kind.BUSY, TransientError),
    (504, None, Kind.BUSY, TransientError),
    (507, "ErrorQuotaExceeded", Kind.OVER_QUOTA, AnswerRefusedError),
    (403, "ErrorQuotaExceeded", Kind.OVER_QUOTA, AnswerRefusedError),
]


@pytest.mark.parametrize(("status", "code", "kind", "error"), ROWS)
def test_every_code_is_taken_for_what_it_means(
    status: int, code: str | None, kind: Kind, error: type[MailoverError]
) -> None:
    for told in (answer(status, code), answer(status, code and code.upper())):
        fault = fault_of(told, MAILBOX, NOW)
        assert fault
        assert (fault.kind, type(fault.error)) == (kind, error)
        assert MAILBOX in str(fault.error)


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_success_is_no_fault(status: int) -> None:
    assert fault_of(Answer(status, {}, b"{}"), MAILBOX, NOW) is None


def test_the_inner_code_counts_more_than_the_outer_one() -> None:
    for outer in ("UnknownError", "ErrorInternalServerTransientError"):
        fault = fault_of(answer(500, outer, "ErrorMimeContentConversionFailed"), MAILBOX, NOW)
        assert fault
        assert fault.kind is Kind.NOT_CONVERTIBLE


@pytest.mark.parametrize(("status", "code", "_kind", "_error"), ROWS)
def test_secrets_stay_secret_in_what_is_reported(
    status: int, code: str | None, _kind: Kind, _error: type
) -> None:
    fault = fault_of(answer(status, code), MAILBOX, NOW)
    assert fault
    assert "confidential" not in f"{fault.error}{fault.error!r}{fault.error.__dict__}"


@pytest.mark.parametrize(
    "body", [b"<html>gateway</html>", b"[]", b'{"error": []}', b'{"error": {"code": 5}}', b"\xff"]
)
def test_a_body_that_is_no_error_leaves_the_status_to_decide(body: bytes) -> None:
    fault = fault_of(Answer(503, {}, body), MAILBOX, NOW)
    assert fault
    assert fault.kind is Kind.BUSY


@pytest.mark.parametrize("code", ["ErrorAccessDenied", "Authorization_RequestDenied"])
def test_a_mailbox_out_of_scope_is_named_with_the_missing_role(code: str) -> None:
    fault = fault_of(answer(403, code), MAILBOX, NOW)
    assert fault
    told = str(fault.error)
    for word in (MAILBOX, "Mail.Read", "RBAC for Applications", "mailover setup", code):
        assert word in told


def test_the_request_id_is_shown_where_microsoft_would_ask_for_it() -> None:
    number = "0f6f4a53-2f0f-4d0b-9d0e-5c9e4fd3b6a1"
    fault = fault_of(answer(503, "ErrorServerBusy", request_id=number), MAILBOX, NOW)
    assert fault
    assert number in str(fault.error)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("10", 10),
        ("2.128", 2.128),
        (" 30 ", 30),
        ("Thu, 20 Aug 2026 09:36:07 GMT", 300),
        ("Thu, 20 Aug 2026 09:36:07 -0000", 300),
        ("Thu, 20 Aug 2026 09:00:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_fractions_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


def test_a_server_that_is_busy_and_names_a_wait_throttles() -> None:
    fault = fault_of(answer(503, "ErrorServerBusy", retry_after="12"), MAILBOX, NOW)
    assert fault
    assert (fault.kind, fault.wait) == (Kind.THROTTLED, 12)
    assert isinstance(fault.error, ThrottledError)
    assert fault.error.retry_after == 12
