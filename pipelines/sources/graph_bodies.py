"""Messages as MIME, each checked for completeness; what Exchange cannot convert comes in another form.

Source: Microsoft, "Get MIME content of a message". Exchange makes the MIME while it is asked for and tells
no length; downloads of over 25 MB were seen to break off as if they had ended.
"""

from collections.abc import Iterator, Sequence

from pipelines.errors import ConnectionLostError, MailoverError, ThrottledError, TransientError
from pipelines.mime.fields import after_envelope, read_block
from pipelines.mime.params import parse_value
from pipelines.sources.base import Entry, Fetched, FetchFailed
from pipelines.sources.graph_fallback import read_fallback
from pipelines.sources.graph_faults import AnswerRefusedError, Fault, Kind
from pipelines.sources.graph_requests import MIME, Answer
from pipelines.sources.graph_retries import LONGEST_WAIT, Outcome
from pipelines.sources.graph_session import GraphSession
from pipelines.sources.mail_bodies import outcome_of

_MOST_LOST = 3
"""Messages in a row that fail for no reason of their own; after them it is the server that is ill."""


class Bodies:
    """Fetches messages of one session's mailbox."""

    def __init__(self, session: GraphSession) -> None:
        self._session = session
        self._lost_in_a_row = 0

    def fetch(self, entries: Sequence[Entry]) -> Iterator[Fetched | FetchFailed]:
        """One outcome per entry, four in flight; see ``GraphSession.ask_all`` for what is held."""
        unique = {each.native_id: each for each in entries}
        wanted = ((self._session.urls.mime(native_id), entry) for native_id, entry in unique.items())
        for entry, outcome in self._session.ask_all(wanted, accept=MIME, check=_incomplete):
            yield self._outcome(entry, outcome)

    def _outcome(self, entry: Entry, outcome: Outcome) -> Fetched | FetchFailed:
        if isinstance(outcome, Answer):
            self._lost_in_a_row = 0
            return outcome_of(entry, outcome.content)
        if isinstance(outcome, AnswerRefusedError):
            return self._refused(entry, outcome)
        if isinstance(outcome, TransientError):
            if isinstance(outcome, ThrottledError) and outcome.retry_after > LONGEST_WAIT:
                raise outcome
            lost = isinstance(outcome, ConnectionLostError)
            return self._lost(entry, outcome, "connection-lost" if lost else "refused")
        raise outcome

    def _refused(self, entry: Entry, refused: AnswerRefusedError) -> Fetched | FetchFailed:
        match refused.kind:
            case Kind.NOT_FOUND:
                return self._missing(entry)
            case Kind.CUT_SHORT:
                return self._cut_short(entry)
            case Kind.NOT_CONVERTIBLE:
                return self._other_form(
                    entry, "conversion-failed", "Exchange cannot convert the message to MIME"
                )
            case Kind.CORRUPT:
                return self._other_form(entry, "item-corrupt", "Exchange cannot read the message's body")
            case _:
                return self._lost(entry, refused, "refused")

    def _lost(self, entry: Entry, error: MailoverError, reason: str) -> FetchFailed:
        """Whether it is the message or the server is found out by asking for the message's properties."""
        self._lost_in_a_row += 1
        if not self._is_listed(entry):
            return _gone(entry)
        if self._lost_in_a_row >= _MOST_LOST:
            raise error
        return FetchFailed(entry, reason, f"asked for the message alone, {error.message}")

    def _missing(self, entry: Entry) -> Fetched | FetchFailed:
        """404 is no proof that a message is gone: its properties are asked for, then itself once more."""
        if not self._is_listed(entry):
            return _gone(entry)
        try:
            again = self._session.get(
                self._session.urls.mime(entry.native_id), accept=MIME, check=_incomplete
            )
        except AnswerRefusedError as refused:
            if refused.kind is not Kind.NOT_FOUND:
                return self._refused(entry, refused)
            return FetchFailed(entry, "refused", "Graph lists the message and finds no content for it")
        return outcome_of(entry, again.content)

    def _cut_short(self, entry: Entry) -> Fetched | FetchFailed:
        """Always ends early: perhaps the message is so. What there is of it is kept beside."""
        last = self._session.get(self._session.urls.mime(entry.native_id), accept=MIME).content
        if not last or is_complete(last):
            return outcome_of(entry, last)
        told = "the message's MIME ends before its closing boundary, each time it is asked for"
        return FetchFailed(entry, "truncated", told, fallback=last, fidelity="truncated")

    def _other_form(self, entry: Entry, reason: str, detail: str) -> FetchFailed:
        self._lost_in_a_row = 0
        found = read_fallback(self._session, entry.native_id, body=reason != "item-corrupt")
        if found is None:
            return FetchFailed(entry, reason, f"{detail}, and Graph gives it in no other form")
        return FetchFailed(entry, reason, detail, fallback=found.mime, fidelity=found.fidelity)

    def _is_listed(self, entry: Entry) -> bool:
        try:
            self._session.get(self._session.urls.listed(entry.native_id))
        except AnswerRefusedError as refused:
            if refused.kind is not Kind.NOT_FOUND:
                raise
            return False
        return True


def is_complete(mime: bytes) -> bool:
    """Whether there is all of a message: its header's end, and of a multipart the closing boundary."""
    if not (b"\n\r\n" in mime or b"\n\n" in mime or mime.startswith((b"\r\n", b"\n"))):
        return False
    defects: set[str] = set()
    fields = read_block(mime, after_envelope(mime, defects), len(mime), defects).fields
    kind = parse_value(fields.get(b"content-type", [b""])[0])
    boundary = kind.parameters.get("boundary")
    if not kind.value.startswith("multipart/") or not boundary:
        return True
    return mime.rfind(b"\n--%s--" % boundary.encode()) >= 0


def _incomplete(answer: Answer) -> Fault | None:
    if is_complete(answer.content):
        return None
    return Fault(Kind.CUT_SHORT, AnswerRefusedError("the message's MIME is not whole", Kind.CUT_SHORT))


def _gone(entry: Entry) -> FetchFailed:
    return FetchFailed(entry, "gone", "Graph no longer finds the message", gone=True)
