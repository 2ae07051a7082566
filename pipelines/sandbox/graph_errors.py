"""What the Graph door refuses with: a status, one of Graph's codes, a text.

Codes and texts are those of Microsoft's "Microsoft Graph error responses" and of Exchange Web
Services, which Graph passes through, as far as they are known; clients go by code and status.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

TEXTS = {
    "ApplicationThrottled": "Application is over its MailboxConcurrency limit.",
    "ErrorAccessDenied": "Access is denied. Check credentials and try again.",
    "ErrorFolderNotFound": "The specified folder could not be found in the store.",
    "ErrorInvalidIdMalformed": "Id is malformed.",
    "ErrorInvalidRequest": "The OData request is not supported.",
    "ErrorItemCorrupt": "The item is corrupt.",
    "ErrorItemNotFound": "The specified object was not found in the store.",
    "ErrorMimeContentConversionFailed": "The MIME content could not be converted.",
    "ErrorServerBusy": "The server cannot service this request right now. Try again later.",
    "ErrorSyncFolderNotFound": "The specified folder could not be found in the store.",
    "InefficientFilter": "The restriction or sort order is too complex for this operation.",
    "MailboxNotEnabledForRESTAPI": ("The mailbox is either inactive, soft-deleted, or is hosted on-premise."),
    "SyncStateNotFound": "The sync state generation is not found.",
}
"""What Graph says beside a code; a code that is not here says its own name."""


class GraphError(Exception):
    """A request that is refused."""

    def __init__(
        self, status: int, code: str, message: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.status, self.code = status, code
        self.message = TEXTS.get(code, code) if message is None else message
        self.headers = dict(headers or {})

    def payload(self, request_id: str, client_request_id: str, inner: str) -> dict[str, Any]:
        """The body that tells it; ``inner`` is what its details are called, which differs."""
        return {
            "error": {
                "code": self.code,
                "message": self.message,
                inner: {
                    "date": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
                    "request-id": request_id,
                    "client-request-id": client_request_id,
                },
            }
        }


def bad_request(message: str) -> GraphError:
    """A request that Graph does not understand."""
    return GraphError(400, "BadRequest", message)
