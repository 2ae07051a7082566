"""The error tree, ordered by what the caller can do about it.

Third-party errors are mapped to these once, where they enter (the source, the token
provider, the database). Every text names what is wrong and where; ``remedy`` says what
to do. None carries a token, a secret or the content of a message.
"""


class MailoverError(Exception):
    """Anything Mailover reports to its user as a sentence instead of a traceback."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (Dagster's executors pickle them).
        return _restore, (type(self), self.__dict__)


def _restore(kind: type[MailoverError], state: dict[str, object]) -> MailoverError:
    error = kind.__new__(kind)
    error.__dict__.update(state)
    error.args = (error.message,)
    return error


class UsageError(MailoverError):
    """The command line or a file given on it is wrong; nothing was started."""

    exit_code = 2


class ConfigurationError(UsageError):
    """The configuration file is wrong; nothing was started."""


class AccessError(MailoverError):
    """A server could not be reached, or refused the caller."""

    exit_code = 3


class UnreachableError(AccessError):
    """No connection: name, route, port or TLS."""


class SignInError(AccessError):
    """The token endpoint refused, or the token it gave cannot serve."""

    def __init__(self, message: str, *, remedy: str | None = None, code: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.code = code
        """The service's own code, such as ``AADSTS7000215``, where it gave one."""


class MailboxRefusedError(AccessError):
    """This mailbox is not open to the application."""

    def __init__(
        self, message: str, *, remedy: str | None = None, token_accepted: bool | None = None
    ) -> None:
        super().__init__(message, remedy=remedy)
        self.token_accepted = token_accepted
        """Whether the server took the token and then refused the mailbox; None where it does not tell."""


class TransientError(MailoverError):
    """Worth another try; retried inside ``pipelines`` before anyone sees it."""

    exit_code = 3


class ThrottledError(TransientError):
    """The server asked to wait."""

    def __init__(self, message: str, *, retry_after: float, remedy: str | None = None) -> None:
        super().__init__(message, remedy=remedy)
        self.retry_after = retry_after
        """Seconds, as the server named them."""


class ConnectionLostError(TransientError):
    """The server ended the session (BYE, reset, expired token); a new one may go on."""


class FolderGoneError(MailoverError):
    """The folder was listed and is not there any more."""


class LeaseHeldError(MailoverError):
    """Another run is writing this mailbox."""

    exit_code = 0


class LeaseLostError(MailoverError):
    """This run lost the mailbox to another one; nothing of the open batch was committed."""


class LakeMismatchError(MailoverError):
    """Lake and index do not belong together; ingestion stops before it could delete anything."""


class RoundOpenError(MailoverError):
    """A round's account does not add up; it is not closed and its cursor stays."""
