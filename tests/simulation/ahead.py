"""A pass that reads ahead of what it takes in, without another process: the order of things is the same."""

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pipelines.mime.process import Made, MimeProcess, MimeProcesses, make_record


class InThisProcess(MimeProcess):
    """Answers as another process would."""

    def __init__(self) -> None:
        self.ended = False
        self._asked: deque[Sequence[bytes]] = deque()

    @property
    def has_started(self) -> bool:
        return True

    def ask(self, mimes: Sequence[bytes]) -> bool:
        self._asked.append(mimes)
        return True

    def answer(self) -> Sequence[Made]:
        return [make_record(mime) for mime in self._asked.popleft()]

    def close(self) -> None:
        self._asked.clear()


class ReadingAhead(MimeProcesses):
    """Makes every pass read ahead of what it takes in, however little there is."""

    @contextmanager
    def borrowed(self, count: int) -> Iterator[MimeProcess | None]:
        yield InThisProcess()
