"""An IMAP session: folders opened read-only, and found again after a reconnection."""

import imaplib
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from imapclient import IMAPClient

from pipelines.auth import Server, TokenProvider, resolve, xoauth2
from pipelines.clock import Clock
from pipelines.config import Tenant
from pipelines.errors import FolderGoneError, MailoverError
from pipelines.sources.imap_wire import list_lines, refusal_text
from pipelines.sources.mail_faults import (
    IMAP,
    CommandRefusedError,
    Fault,
    broken,
    lost_connection,
    no_xoauth2,
    quote,
    session_fault,
)
from pipelines.sources.mail_session import (
    CONNECT_SECONDS,
    GOODBYE_SECONDS,
    READ_SECONDS,
    TRIES,
    MailSession,
    SignInRefusedError,
)

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


class _NotOpenedError(MailoverError):
    pass


class ImapSession(MailSession[IMAPClient]):
    """One mailbox over IMAP4rev1 with TLS and XOAUTH2. Only EXAMINE opens folders: nothing can be changed."""

    protocol = IMAP
    errors = (imaplib.IMAP4.error, ValueError, *MailSession.errors)

    def __init__(self, tenant: Tenant, mailbox: str, tokens: TokenProvider, clock: Clock) -> None:
        """Nothing is sent before the first command."""
        super().__init__(tenant, mailbox, tokens, clock, resolve(tenant).imap)
        self._opened: Examined | None = None

    def run_in(self, folder: Examined, work: Callable[[IMAPClient], T], *, tries: int = TRIES) -> T:
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

    def _connect(self, context: ssl.SSLContext) -> IMAPClient:
        return _connect(self._server, context)

    def _sign_in(self, client: IMAPClient) -> None:
        offered = client._imap.capabilities  # noqa: SLF001
        if "AUTH=XOAUTH2" not in offered:
            disabled = "LOGINDISABLED" in offered
            also = "; it says LOGINDISABLED, so it wants TLS or another way in" if disabled else ""
            raise no_xoauth2(self._server, IMAP, also)
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
        raise SignInRefusedError(refused)

    def _sign_out(self, client: IMAPClient) -> None:
        client._imap.sock.settimeout(GOODBYE_SECONDS)  # noqa: SLF001
        client._imap.logout()  # noqa: SLF001

    def _disconnect(self, client: IMAPClient) -> None:
        client.shutdown()

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
        if session_fault(refused, self.mailbox, IMAP):
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
        if isinstance(error, _NotOpenedError):
            # Seen where the folder was replaced under a session: a new one opens it.
            return Fault(error, (0.0, 5.0))
        if isinstance(error, MailoverError) and not isinstance(error, CommandRefusedError):
            return Fault(error, keeps_session=self._signed_in)
        bye = _bye(self._client)
        if isinstance(error, CommandRefusedError):
            text = error.text
        else:
            text = refusal_text(error) if isinstance(error, imaplib.IMAP4.error) and not bye else bye
        if known := session_fault(text, self.mailbox, IMAP) or session_fault(bye, self.mailbox, IMAP):
            return known
        if isinstance(error, SignInRefusedError):
            return self._refused(text)
        if self._client is None and not isinstance(error, CommandRefusedError):
            return self._unreachable(error)
        if isinstance(error, CommandRefusedError) and self._client and not bye:
            raise error
        how = f"the server said {quote(bye or text)}" if bye or text else broken(error, IMAP)
        return lost_connection(self.mailbox, how)

    def _drop(self) -> None:
        self._opened = None
        super()._drop()


def _connect(server: Server, context: ssl.SSLContext) -> IMAPClient:
    try:
        client = IMAPClient(server.host, server.port, ssl_context=context, timeout=CONNECT_SECONDS)
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
        client._imap.sock.settimeout(READ_SECONDS)  # noqa: SLF001
        # Names stay as the server wrote them; one that is no modified UTF-7 must not break LIST.
        client.folder_encode = False
        return client
    raise CommandRefusedError(text.removeprefix("* BYE "))


def _bye(client: IMAPClient | None) -> str:
    said = client._imap.untagged_responses.get("BYE") if client else None  # noqa: SLF001
    return said[-1].decode("utf-8", "replace") if said else ""
