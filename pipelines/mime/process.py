"""Other processes that make records, so that MIME and everything else use a core each.

Each is a Python of its own that is asked and answers by pipes, started as any program is: neither
forked from a process with threads, nor importing what its parent's main module is, and so to be had
within any worker of any scheduler. It ends when the other end of its pipes does, however that ended.
"""

import os
import pickle
import queue
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any, BinaryIO

from pipelines.mime.normalise import normalise
from pipelines.mime.record import Record

_FEWEST = 1_000
"""Messages for which a process is asked: to start one takes as long as some hundred small ones."""
_SERVE = "from pipelines.mime.process import serve; serve()"
_ENVIRONMENT = ("LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "SYSTEMROOT")
"""What a Python needs of its parent's environment, where secrets may stand."""
_LENGTH = struct.Struct("!Q")
_STARTED = b"!"
"""What it says first."""
_PIPE_BYTES = 1024 * 1024
_SWITCH = 0.002
"""Seconds that sending and receiving wait for the thread that makes records, at most."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What there is of a message of which no record could be made."""

    error: str
    """Name of the error's class; its text may quote mail."""


Made = Record | Unreadable


def make_record(mime: bytes) -> Made:
    """The record, or what went wrong: one poison message must not stop the others."""
    try:
        return normalise(mime)
    except Exception as error:  # noqa: BLE001 - see above
        return Unreadable(type(error).__name__)


class MimeProcess:
    """A process that makes records of what it is sent, and answers in that order."""

    def __init__(self) -> None:
        """Raises ``OSError`` where it cannot be started."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A traceback could quote mail.
            stderr=subprocess.DEVNULL,
            env=_environment(),
            # Ctrl-C is its parent's to answer.
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._questions, self._answers = self._process.stdin, self._process.stdout
        _widen(self._questions)
        _widen(self._answers)
        self.pid = self._process.pid
        self.ended = False
        self._start = threading.Thread(target=self._await_start, daemon=True)
        self._start.start()

    @property
    def has_started(self) -> bool:
        """Whether it makes records by now, or has ended before it could."""
        return not self._start.is_alive()

    def _await_start(self) -> None:
        # Past the buffer, which would be locked if the interpreter ended meanwhile.
        os.read(self._answers.fileno(), len(_STARTED))

    def ask(self, mimes: Sequence[bytes]) -> bool:
        """Ask for the records of messages; whether that could be done."""
        try:
            _send(self._questions, mimes)
        except OSError:
            self.ended = True
        return not self.ended

    def answer(self) -> Sequence[Made] | None:
        """The records that were asked for longest ago and are not yet answered; None where it has ended."""
        self._start.join()
        try:
            made: Sequence[Made] = _receive(self._answers)
        except (OSError, EOFError):
            self.ended = True
            return None
        return made

    def close(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._start.join()
        with suppress(OSError):
            self._questions.close()
        self._answers.close()
        self._process.wait()


class MimeProcesses:
    """Processes to borrow; safe to share between threads."""

    def __init__(self, most: int | None = None) -> None:
        """``most``: how many there may be; one for each core but this process's own, where it is not told."""
        self._lock = threading.Lock()
        self._idle: list[MimeProcess] = []
        self._to_start = _cores() - 1 if most is None else most

    @contextmanager
    def borrowed(self, count: int) -> Iterator[MimeProcess | None]:
        """A process for ``count`` messages; None where none is to be had, or they are too few for one.

        At its end everything that was asked has to be answered. If it ends by an exception, so
        does the process, which may have been left in the middle.
        """
        process = self._take() if count >= _FEWEST else None
        try:
            yield process
        except BaseException:
            if process:
                self._end(process)
            raise
        if process:
            self._give_back(process)

    def close(self) -> None:
        """End those that nobody has borrowed."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()

    def _take(self) -> MimeProcess | None:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            if self._to_start <= 0:
                return None
            self._to_start -= 1
        try:
            return MimeProcess()
        except OSError:
            # As where there is no second core: what it would have done is done here.
            return None

    def _give_back(self, process: MimeProcess) -> None:
        if process.ended:
            self._end(process)
            return
        with self._lock:
            self._idle.append(process)

    def _end(self, process: MimeProcess) -> None:
        process.close()
        with self._lock:
            self._to_start += 1


def serve() -> None:
    """Make records until the other side is gone.

    What is asked is taken in at once, and no answer waits for the one before it to be taken: the
    other side asks far ahead, and is at something else for as long as a batch takes to write.
    """
    sys.setswitchinterval(_SWITCH)
    os.write(sys.stdout.fileno(), _STARTED)
    asked: queue.SimpleQueue[Sequence[bytes] | None] = queue.SimpleQueue()
    answers: queue.SimpleQueue[Sequence[Made]] = queue.SimpleQueue()
    threading.Thread(target=_take_in, args=(sys.stdin.buffer, asked), daemon=True).start()
    threading.Thread(target=_give_out, args=(sys.stdout.buffer, answers), daemon=True).start()
    while (mimes := asked.get()) is not None:
        answers.put([make_record(mime) for mime in mimes])
    # Nobody is left to read what is in the buffers.
    os._exit(0)


def _take_in(source: BinaryIO, asked: "queue.SimpleQueue[Sequence[bytes] | None]") -> None:
    try:
        while True:
            asked.put(_receive(source))
    except (OSError, EOFError):
        asked.put(None)


def _give_out(to: BinaryIO, answers: "queue.SimpleQueue[Sequence[Made]]") -> None:
    # Where the other side is gone, `_take_in` finds out too, and ends it all.
    with suppress(OSError):
        while True:
            _send(to, answers.get())


def _send(to: IO[bytes], value: object) -> None:
    frame = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    to.write(_LENGTH.pack(len(frame)))
    to.write(frame)
    to.flush()


def _receive(source: IO[bytes]) -> Any:
    """What the other side has sent, which is this program too. Raises ``EOFError`` at its end."""
    header = source.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(header)
    frame = source.read(length)
    if len(frame) < length:
        raise EOFError
    return pickle.loads(frame)  # noqa: S301 - nobody else has the other end


def _widen(pipe: IO[bytes]) -> None:
    """Let it hold what is sent at once, so that the sender need not wait for the other side."""
    if sys.platform == "linux":
        # Windows has no such module, and others not this setting of it.
        import fcntl

        # A user may be allowed less.
        with suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _cores() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
