"""A signed-in IMAP connection that is replaced when it ends, and goes on where it stood."""

import contextlib
import imaplib
import itertools
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from imapclient import IMAPClient

from pipelines.auth import (
    Resource,
    Server,
    TokenProvider,
    check_claims,
    describe_claims,
    resolve,
    xoauth2,
)
from pipelines.clock import Clock
from pipelines.config import Tenant
from pipelines.errors import ConfigurationError, ConnectionLostError, FolderGoneError, MailoverError
from pipelines.sources.imap_faults import (
    Fault,
    lost_connection,
    no_xoauth2,
    quote,
    session_fault,
    sign_in_refused,
    unreachable,
)
from pipelines.sources.imap_wire import CommandRefusedError, list_lines, refusal_text

ROLE = "IMAP.AccessAsApp"
_CONNECT_SECONDS, _READ_SECONDS, _GOODBYE_SECONDS = 20, 180, 5
""" Exchange converts a message while the client waits for its first byte."""
_TRIES = 5
_FRESH = timedelta(minutes=10)
"""A token refused so soon after it was issued would be refused again."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Examined:
    """A folder as EXAMINE showed it."""

    native: str
    uid_validity: int
    uid_next: int | None
    exists: int

    def native_id(self, uid: int) -> str:
        """``<uidvalidity>:<uid>``."""
        return f"{self.uid_validity}:{uid}"

    def uid_of(self, native_id: str) -> int | None:
        """The UID in a native id; None where it is of another UIDVALIDITY."""
        validity, _, uid = native_id.partition(":")
        return int(uid) if validity == str(self.uid_validity) else None


class UidValidityChanged(Exception):  # noqa: N818 - an event of the folder, not an error
    """After a reconnection the folder is not the one it was; ``now`` is what it is."""

    def __init__(self, now: Examined) -> None:
        super().__init__(now.native)
        self.now = now


class _SignInRefusedError(CommandRefusedError):
    pass


class _NotOpenedError(MailoverError):
    pass


class ImapSession:
    """One mailbox over IMAP4rev1 with TLS and XOAUTH2. Only EXAMINE opens folders: nothing can be changed."""

    def __init__(self, tenant: Tenant, mailbox: str, tokens: TokenProvider, clock: Clock) -> None:
        """Nothing is sent before the first command."""
        self.mailbox = mailbox
        self._tenant, self._tokens, self._clock = tenant, tokens, clock
        self._endpoints = resolve(tenant)
        self._client: IMAPClient | None = None
        self._context: ssl.SSLContext | None = None
        self._opened: Examined | None = None
        self._token = self._dead_token = ""

    def run(self, work: Callable[[IMAPClient], T], *, tries: int = _TRIES) -> T:
        """Do ``work`` on a live session; one that ends is replaced and ``work`` done again.

        The pauses are those the server asked for; ``tries`` bounds how often the connection may be
        lost. Raises ``CommandRefusedError`` where the server refuses the command and nothing else, and
        ``AccessError``, ``TransientError`` or ``FolderGoneError`` where no further try may help.
        """
        for failures in itertools.count():
            try:
                return work(self._connected())
            except (imaplib.IMAP4.error, OSError, ValueError, MailoverError) as error:
                fault = self._fault(error)
            # Outside the handler: what imaplib quotes in its errors can be mail.
            if not fault.keeps_session:
                self._drop()
            if fault.new_token:
                self._dead_token = self._token
            lost = isinstance(fault.error, ConnectionLostError)
            if failures >= len(fault.pauses) or (lost and failures + 1 >= tries):
                raise fault.error
            if pause := fault.pauses[failures]:
                self._clock.sleep(pause)
        raise AssertionError

    def run_in(self, folder: Examined, work: Callable[[IMAPClient], T], *, tries: int = _TRIES) -> T:
        """``run`` with ``folder`` open. Raises ``UidValidityChanged`` too."""

        def in_folder(client: IMAPClient) -> T:
            if self._opened is None or self._opened.native != folder.native:
                self._opened = self._open(client, folder.native)
            if self._opened.uid_validity != folder.uid_validity:
                raise UidValidityChanged(self._opened)
            return work(client)

        return self.run(in_folder, tries=tries)

    def examine(self, native: str) -> Examined:
        """Open the folder read-only and tell what is in it now. Raises ``FolderGoneError``."""

        def examine(client: IMAPClient) -> Examined:
            self._opened = self._open(client, native)
            return self._opened

        return self.run(examine)

    def opened(self, native: str) -> Examined:
        """The folder as it was opened last, opened now if it is not open."""
        return self._opened if self._opened and self._opened.native == native else self.examine(native)

    def close(self) -> None:
        """Sign out; never raises."""
        client = self._client
        if client is None:
            return
        with contextlib.suppress(imaplib.IMAP4.error, OSError, ValueError):
            client._imap.sock.settimeout(_GOODBYE_SECONDS)  # noqa: SLF001
            client._imap.logout()  # noqa: SLF001
        self._drop()

    def _connected(self) -> IMAPClient:
        if self._client is None:
            self._take_token()
            self._client = _connect(self._endpoints.imap, self._trust())
            self._sign_in(self._client)
        return self._client

    def _take_token(self) -> None:
        self._token = self._tokens.token(Resource.OUTLOOK)
        if self._token == self._dead_token:
            self._token = self._tokens.token(Resource.OUTLOOK, refresh=True)
        check_claims(self._token, Resource.OUTLOOK, self._tenant, ROLE, clock=self._clock)

    def _trust(self) -> ssl.SSLContext:
        if self._context is None:
            given = self._endpoints.ca_file
            try:
                self._context = ssl.create_default_context(cafile=given)
            except OSError:
                raise ConfigurationError(
                    f"tenant.endpoints.ca_file: {given} holds no certificates that can be read",
                    remedy="give a file of CA certificates in PEM form",
                ) from None
        return self._context

    def _sign_in(self, client: IMAPClient) -> None:
        offered = client._imap.capabilities  # noqa: SLF001
        if "AUTH=XOAUTH2" not in offered:
            raise no_xoauth2(self._endpoints.imap, login_disabled="LOGINDISABLED" in offered)
        # A second challenge tells why it was refused; an empty answer ends the exchange.
        answers = iter([xoauth2(self.mailbox, self._token), b""])
        try:
            client._imap.authenticate("XOAUTH2", lambda _challenge: next(answers, None))  # noqa: SLF001
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            refused = refusal_text(error) or str(error)
        else:
            return
        raise _SignInRefusedError(refused)

    def _open(self, client: IMAPClient, native: str) -> Examined:
        self._opened = None
        try:
            answer = client.select_folder(native, readonly=True)  # type: ignore[no-untyped-call]
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            refused = refusal_text(error)
            if not refused:
                raise
        else:
            if b"UIDVALIDITY" not in answer or b"EXISTS" not in answer:
                raise MailoverError(
                    f"{self.mailbox}: the server opens {native!r} without UIDVALIDITY or EXISTS",
                    remedy="its messages cannot be told apart by UID: exclude the folder",
                )
            return Examined(native, answer[b"UIDVALIDITY"], answer.get(b"UIDNEXT"), answer[b"EXISTS"])
        if session_fault(refused, self.mailbox):
            raise CommandRefusedError(refused)
        raise self._not_opened(client, native, refused)

    def _not_opened(self, client: IMAPClient, native: str, refused: str) -> MailoverError:
        """Whether the folder is gone is asked with LIST: the words of a refusal differ by server."""
        if native.encode() not in {name for _attributes, _delimiter, name in list_lines(client, native)}:
            return FolderGoneError(f"{self.mailbox}: the folder {native!r} is not there any more")
        return _NotOpenedError(
            f"{self.mailbox}: the server lists {native!r} and does not open it: {quote(refused)}",
            remedy="an empty folder called Inbox beside the real one hides it: rename it in Outlook"
            if native.upper() == "INBOX"
            else "open the folder in Outlook on the web; if it is damaged, exclude it",
        )

    def _fault(self, error: Exception) -> Fault:
        """What to report and whether to try again; words are taken over only where they are the server's."""
        if isinstance(error, _NotOpenedError):
            # Seen where the folder was replaced under a session: a new one opens it.
            return Fault(error, (0.0, 5.0))
        if isinstance(error, MailoverError) and not isinstance(error, CommandRefusedError):
            signed_in = self._client is not None and self._client._imap.state in ("AUTH", "SELECTED")  # noqa: SLF001
            return Fault(error, keeps_session=signed_in)
        bye = _bye(self._client)
        if isinstance(error, CommandRefusedError):
            text = error.text
        else:
            text = refusal_text(error) if isinstance(error, imaplib.IMAP4.error) and not bye else bye
        if known := session_fault(text, self.mailbox) or session_fault(bye, self.mailbox):
            return known
        if isinstance(error, _SignInRefusedError):
            return self._refused(text)
        if self._client is None and not isinstance(error, CommandRefusedError):
            return unreachable(error, self._endpoints.imap)
        if isinstance(error, CommandRefusedError) and self._client and not bye:
            raise error
        return lost_connection(
            self.mailbox, f"the server said {quote(bye or text)}" if bye or text else _broken(error)
        )

    def _refused(self, text: str) -> Fault:
        claims = describe_claims(self._token)
        issued = claims.issued_at if claims else None
        fresh = self._token == self._dead_token or (issued and self._clock.now() - issued < _FRESH)
        return Fault(sign_in_refused(self.mailbox, text), () if fresh else (0.0,), new_token=not fresh)

    def _drop(self) -> None:
        client, self._client, self._opened = self._client, None, None
        if client is not None:
            with contextlib.suppress(OSError):
                client.shutdown()


def _connect(server: Server, context: ssl.SSLContext) -> IMAPClient:
    try:
        client = IMAPClient(server.host, server.port, ssl_context=context, timeout=_CONNECT_SECONDS)
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        greeting = error.args[0] if error.args else b""
        text = greeting.decode("utf-8", "replace") if isinstance(greeting, bytes) else refusal_text(error)
        if not text:
            raise
    else:
        # imapclient sets 5: every body is then formatted with repr(), twice, for a debug log.
        client._imap.debug = 0  # noqa: SLF001
        client._imap.sock.settimeout(_READ_SECONDS)  # noqa: SLF001
        # Names stay as the server wrote them; one that is no modified UTF-7 must not break LIST.
        client.folder_encode = False
        return client
    raise CommandRefusedError(text.removeprefix("* BYE "))


def _bye(client: IMAPClient | None) -> str:
    said = client._imap.untagged_responses.get("BYE") if client else None  # noqa: SLF001
    return said[-1].decode("utf-8", "replace") if said else ""


def _broken(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) or "socket error" in str(error):
        return "the connection broke"
    return "the server's answer is not IMAP"
