"""What Graph's answers mean for the request, the mailbox and the person who reads of it.

Codes are compared without case, and those of ``innerError`` go first: the outer one can be as
little as ``UnknownError``. Graph's texts are never shown: they can quote addresses and tokens.
Sources: Microsoft, "Microsoft Graph error responses", "Get incremental changes to messages in
a folder"; the response codes of Exchange Web Services, which Graph passes through.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Any

from pipelines.errors import (
    MailboxRefusedError,
    MailoverError,
    SignInError,
    ThrottledError,
    TransientError,
)
from pipelines.sources.graph_requests import Answer

ROLE = "Mail.Read"


class Kind(Enum):
    """What to do about an answer that is no success."""

    TOKEN = auto()
    """Ask again with a new token, once."""
    DENIED = auto()
    """The mailbox is not open to the application."""
    NO_MAILBOX = auto()
    """There is no such mailbox behind Graph."""
    NOT_FOUND = auto()
    """What the URL names is not there, or not to be seen."""
    EXPIRED = auto()
    """A delta link that the server no longer knows."""
    OVER_QUOTA = auto()
    """The mailbox is full; Graph then refuses delta, not listing."""
    NOT_CONVERTIBLE = auto()
    """Exchange cannot make MIME of the message."""
    CORRUPT = auto()
    """Exchange cannot read the message's body."""
    WRONG_REQUEST = auto()
    """Asking again is of no use."""
    THROTTLED = auto()
    """Wait, the whole mailbox with it."""
    BUSY = auto()
    """Ask again after a while."""
    UNEXPLAINED = auto()
    """404 without a body, as Graph's front end sends it at times: ask again a few times."""
    CONNECTION_LOST = auto()
    """Ask again."""
    CUT_SHORT = auto()
    """The answer is not whole: ask again."""
    UNREACHABLE = auto()
    """There is no connection."""


def _kinds(table: dict[Kind, str]) -> dict[str, Kind]:
    return {code: kind for kind, codes in table.items() for code in codes.lower().split()}


_BY_CODE = _kinds(
    {
        Kind.TOKEN: "InvalidAuthenticationToken",
        Kind.DENIED: "ErrorAccessDenied Authorization_RequestDenied extensionError AuthenticationError",
        Kind.NO_MAILBOX: "MailboxNotEnabledForRESTAPI ErrorInvalidUser ResourceNotFound "
        "Request_ResourceNotFound ErrorNonExistentMailbox",
        Kind.NOT_FOUND: "ErrorItemNotFound ErrorFolderNotFound ErrorSyncFolderNotFound",
        Kind.EXPIRED: "SyncStateNotFound SyncStateInvalid resyncRequired",
        Kind.OVER_QUOTA: "ErrorQuotaExceeded",
        Kind.NOT_CONVERTIBLE: "ErrorMimeContentConversionFailed ErrorContentConversionFailed "
        "ErrorMimeContentInvalid ErrorUnsupportedMimeConversion",
        Kind.CORRUPT: "ErrorItemCorrupt ErrorCorruptData ErrorInvalidRecipients",
        Kind.WRONG_REQUEST: "ErrorInvalidIdMalformed BadRequest ErrorInvalidRequest InefficientFilter",
        Kind.THROTTLED: "ApplicationThrottled TooManyRequests activityLimitReached",
        Kind.BUSY: "resourceLocked ErrorIrresolvableConflict ErrorInternalServerTransientError "
        "ErrorMailboxStoreUnavailable ErrorMailboxMoveInProgress ErrorServerBusy ErrorTooManyObjectsOpened "
        "ErrorTimeoutExpired ErrorConnectionFailed ErrorMailboxFailover",
    }
)
_BY_STATUS = {
    401: Kind.TOKEN,
    403: Kind.DENIED,
    404: Kind.NOT_FOUND,
    408: Kind.BUSY,
    409: Kind.BUSY,
    410: Kind.EXPIRED,
    423: Kind.BUSY,
    429: Kind.THROTTLED,
    501: Kind.WRONG_REQUEST,
    507: Kind.OVER_QUOTA,
}
_CODE = re.compile(r"[A-Za-z_]{3,60}")


class AnswerRefusedError(MailoverError):
    """Graph refuses one request; what that means is known to whoever asked."""

    def __init__(self, message: str, kind: Kind, *, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that is no success: what to report if it stays so, and the wait that the server named."""

    kind: Kind
    error: MailoverError
    wait: float | None = None


def fault_of(answer: Answer, mailbox: str, now: datetime) -> Fault | None:
    """The fault that ``answer`` is; None for a success."""
    if 200 <= answer.status < 300:
        return None
    kind, code = _kind(answer.status, list(_codes(answer.content)))
    wait = retry_after(answer.headers.get("retry-after"), now)
    if wait and kind in (Kind.BUSY, Kind.UNEXPLAINED):
        kind = Kind.THROTTLED
    return Fault(kind, _error(kind, code, mailbox, wait, _request_id(answer)), wait)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds to wait (RFC 9110, 10.2.3; Graph also sends fractions); None where none are named."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return seconds if 0 < seconds < float("inf") else None


def throttled(mailbox: str, wait: float) -> ThrottledError:
    """The server asks to wait for longer than is waited here, or again and again."""
    return ThrottledError(
        f"{mailbox}: Graph asks to wait {wait:.0f} s before the next request",
        retry_after=wait,
        remedy="look for another program that reads the mailbox with the same application: Graph's limits "
        "are per application and mailbox",
    )


def _codes(content: bytes) -> Iterator[str]:
    """The error's codes, the innermost first."""
    try:
        told: Any = json.loads(content, strict=False)
    except ValueError:
        return
    found = []
    told = told.get("error") if isinstance(told, dict) else None
    while isinstance(told, dict):
        code = told.get("code")
        if isinstance(code, str) and _CODE.fullmatch(code):
            found.append(code)
        told = told.get("innerError") or told.get("innererror")
    yield from reversed(found)


def _kind(status: int, codes: list[str]) -> tuple[Kind, str]:
    """The kind, and the code or status that says so."""
    for code in codes:
        if kind := _BY_CODE.get(code.lower()):
            # "AuthenticationError" is a catch-all; at 401 a new token may still help.
            return (Kind.TOKEN if status == 401 and kind is Kind.DENIED else kind), code
    shown = codes[-1] if codes else f"HTTP {status}"
    if status < 400:
        return Kind.WRONG_REQUEST, f"{shown}, a redirection that is not followed"
    if status == 404 and not codes:
        return Kind.UNEXPLAINED, shown
    return _BY_STATUS.get(status, Kind.BUSY if status >= 500 else Kind.WRONG_REQUEST), shown


def _request_id(answer: Answer) -> str:
    found = answer.headers.get("request-id", "")
    return f", request-id {found}" if re.fullmatch(r"[0-9a-fA-F-]{36}", found) else ""


def _error(kind: Kind, code: str, mailbox: str, wait: float | None, request_id: str) -> MailoverError:
    match kind:
        case Kind.DENIED:
            return _denied(mailbox, code)
        case Kind.NO_MAILBOX:
            return _no_mailbox(mailbox, code)
        case Kind.TOKEN:
            return SignInError(
                f"{mailbox}: Graph does not accept the token ({code}), nor a new one",
                code=code,
                remedy="check tenant.cloud and tenant.endpoints: tokens of one cloud are worth nothing in "
                f"another; then the application's {ROLE}, and the mailbox's licence and account",
            )
        case Kind.THROTTLED:
            return throttled(mailbox, wait or 0)
        case Kind.BUSY | Kind.UNEXPLAINED:
            return TransientError(
                f"{mailbox}: Graph cannot answer ({code}{request_id})",
                remedy="try again later; https://status.cloud.microsoft shows Microsoft's outages",
            )
        case Kind.WRONG_REQUEST:
            return AnswerRefusedError(
                f"{mailbox}: Graph refuses the request ({code}{request_id})",
                kind,
                remedy="check tenant.cloud and tenant.endpoints.graph; if they are right, report this line",
            )
        case _:
            return AnswerRefusedError(f"{mailbox}: Graph answers {code}{request_id}", kind)


def _denied(mailbox: str, code: str) -> MailboxRefusedError:
    return MailboxRefusedError(
        f"{mailbox}: Graph refuses the application ({code}): it lacks {ROLE} for this mailbox",
        remedy=f"give the application Microsoft Graph's application permission {ROLE} with admin consent, or "
        f"include the mailbox in its scope of RBAC for Applications (role Application {ROLE}); an "
        "application access policy can refuse it as well. A change takes up to two hours to count; "
        "`mailover setup` prints the commands",
    )


def _no_mailbox(mailbox: str, code: str) -> MailboxRefusedError:
    if code.lower() == "mailboxnotenabledforrestapi":
        return MailboxRefusedError(
            f"{mailbox}: Graph does not reach the mailbox, even with {ROLE} ({code})",
            remedy="it is on premises, inactive, soft-deleted or without a licence: give it one, or take it "
            "out of mailboxes",
        )
    return MailboxRefusedError(
        f"{mailbox}: Graph knows no such mailbox, even with {ROLE} ({code})",
        remedy="check the address and tenant.id; a new mailbox needs up to 15 minutes before Graph has it",
    )
