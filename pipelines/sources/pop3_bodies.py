"""Messages out of a POP3 session: in batches, and one by one where a batch does not bring them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain, pairwise

from pipelines.errors import ConnectionLostError
from pipelines.sources.base import Entry, FetchFailed
from pipelines.sources.mail_bodies import Outcome, batches, outcome_of
from pipelines.sources.mail_faults import CommandRefusedError, quote
from pipelines.sources.pop3_session import Pop3Session
from pipelines.sources.pop3_wire import Pop3Connection

BATCH_BYTES = 4 * 1024 * 1024
BATCH_MESSAGES = 100
"""Asked for at once, and so in flight, where the server takes several commands."""
_BATCH_TRIES, _SINGLE_TRIES = 2, 3
_MOST_LOST = 3
"""Messages in a row that end the connection; after them it is the server that is ill."""

_UNANSWERED = CommandRefusedError("")
_Answers = dict[str, bytes | CommandRefusedError | None]
"""By native id: the lines, the refusal, or None where a later session does not list it."""


class Bodies:
    """Fetches messages of one session's mailbox. Their numbers are looked up anew in each session."""

    def __init__(self, session: Pop3Session) -> None:
        self._session = session
        self._lost_in_a_row = 0

    def fetch(self, entries: Iterable[Entry]) -> Iterator[Outcome]:
        """One outcome per entry. Holds no more than a batch (4 MiB as listed) or one larger message.

        While the caller works on a batch, the server is on the next.
        """
        left: list[Entry] = []
        by_id = ((each.native_id, each) for each in entries)
        ahead = chain(batches(by_id, BATCH_MESSAGES, BATCH_BYTES), ({},))
        for batch, following in pairwise(ahead):
            answers: _Answers = {}
            with suppress(ConnectionLostError):
                self._ask("RETR {}", list(batch), answers, _BATCH_TRIES, following=list(following))
            for native_id, entry in batch.items():
                answer = answers.pop(native_id, _UNANSWERED)
                if answer is None:
                    yield _gone(entry)
                elif isinstance(answer, CommandRefusedError) or not (answer or entry.size == 0):
                    left.append(entry)
                else:
                    self._lost_in_a_row = 0
                    yield outcome_of(entry, answer)
        if left:
            # Only a new session tells what is still there.
            self._session.close()
        for entry in left:
            yield self._single(entry)

    def headers(self, native_ids: Sequence[str]) -> dict[str, bytes]:
        """Header blocks by native id, for those that the server answers for."""
        answers: _Answers = {}
        with suppress(ConnectionLostError):
            offered = self._session.run(Pop3Connection.capabilities)
            if "TOP" in offered or not offered:
                self._ask("TOP {} 0", native_ids, answers, _BATCH_TRIES)
        return {native_id: answer for native_id, answer in answers.items() if isinstance(answer, bytes)}

    def _single(self, entry: Entry) -> Outcome:
        answers: _Answers = {}
        try:
            self._ask("RETR {}", [entry.native_id], answers, _SINGLE_TRIES)
        except ConnectionLostError as lost:
            self._lost_in_a_row += 1
            # Raises where the server is away altogether: then nothing is the message's fault.
            self._session.run_listed(lambda _client, _numbers: None)
            if self._lost_in_a_row >= _MOST_LOST:
                raise
            told = f"asked for it {_SINGLE_TRIES} times: {lost.message}"
            return FetchFailed(entry, "connection-lost", told)
        answer = answers[entry.native_id]
        if answer is None:
            return _gone(entry)
        if isinstance(answer, CommandRefusedError):
            return FetchFailed(entry, "refused", f"the server refuses to send it: {quote(answer.text)}")
        self._lost_in_a_row = 0
        return outcome_of(entry, answer)

    def _ask(
        self,
        command: str,
        native_ids: Sequence[str],
        answers: _Answers,
        tries: int,
        following: Sequence[str] = (),
    ) -> None:
        """Fill ``answers``: with all, or with none where the connection is lost for good.

        ``following``: what the next question will be about, sent on when all have answers.
        """

        def ask(client: Pop3Connection, numbers: Mapping[str, int]) -> None:
            answers.update((each, None) for each in native_ids if each not in numbers)
            if listed := [each for each in native_ids if each in numbers]:
                got = client.ask_each([command.format(numbers[each]) for each in listed])
                told = dict(zip(listed, got, strict=True))
                # Answers have no names: one that ended too early, at a dot that was not doubled, would
                # shift those after it. That this one is in its place shows that all were.
                client.count()
                answers.update(told)
            if ahead := [command.format(numbers[each]) for each in following if each in numbers]:
                client.ask_ahead(ahead)

        self._session.run_listed(ask, tries=tries)


def _gone(entry: Entry) -> FetchFailed:
    return FetchFailed(entry, "gone", "the server no longer lists the message", gone=True)
