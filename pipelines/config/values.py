"""Single values of the configuration: what each may be, and what to say when it is not that.

Texts never repeat a value that could be a secret put in the wrong place.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, ValidationInfo
from pydantic_core import PydanticCustomError

NIL_GUID = "00000000-0000-0000-0000-000000000000"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_DOMAIN = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE
)
_LOCAL_PART = re.compile(r"[^\s@\"(),:;<>\[\]\\]{1,64}")
_ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9.:_\[\]-]+")
_SIZE = re.compile(r"(\d{1,15})\s*(B|KiB|MiB|GiB|KB|MB|GB)?", re.IGNORECASE)
_UNITS = {"b": 1, "kib": 2**10, "mib": 2**20, "gib": 2**30, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_LONGEST_ADDRESS = 254


@dataclass(frozen=True, slots=True)
class Site:
    """Where the values stand: given to pydantic as validation context when a file is loaded."""

    path: Path
    """The file, as it was named."""
    where: Callable[[tuple[str | int, ...]], str]
    """``file:line`` of a key path."""

    @property
    def folder(self) -> Path:
        """Where relative paths start."""
        return self.path.absolute().parent


def wrong(what: str, remedy: str) -> PydanticCustomError:
    """The error that a validator raises, in the two parts a person is shown."""
    return PydanticCustomError("mailover", "{what}", {"what": what, "remedy": remedy})


def site_of(info: ValidationInfo) -> Site | None:
    """The file being loaded, or None where a model is built in code."""
    return info.context if isinstance(info.context, Site) else None


def _guid(value: str, whose: str) -> str:
    if value == NIL_GUID:
        raise wrong("still holds the placeholder", f"put in {whose}")
    if not _GUID.fullmatch(value):
        raise wrong("is not a GUID (8-4-4-4-12 hexadecimal digits)", f"put in {whose}")
    return value.lower()


def _tenant_id(value: str) -> str:
    whose = "the Directory (tenant) ID from the app registration's overview page"
    if value.lower() in {"common", "organizations", "consumers"}:
        raise wrong(
            f"{value.lower()!r} names no tenant; an application signs in to one tenant", f"put in {whose}"
        )
    return value.lower() if _DOMAIN.fullmatch(value) else _guid(value, whose)


def _client_id(value: str) -> str:
    return _guid(value, "the Application (client) ID from the app registration's overview page")


def _environment_name(value: str) -> str:
    if not _ENVIRONMENT_NAME.fullmatch(value) or _looks_random(value):
        raise wrong(
            "is not the name of an environment variable (capitals, digits, _); is it the secret itself?",
            "name the variable here, keep the secret in it, and renew a secret that stood in a file",
        )
    return value


def _looks_random(name: str) -> bool:
    return len(name) >= 20 and "_" not in name and sum(letter.isdigit() for letter in name) >= 2


def _address(value: str) -> str:
    if any(not letter.isprintable() for letter in value) or "..." in value or "|" in value:
        raise wrong(
            "the address holds '...', '|' or a control character, which the name of a partition cannot carry",
            "write the mailbox's primary SMTP address, or an alias of it without these characters",
        )
    local, at, domain = value.rpartition("@")
    dotted = local.startswith(".") or local.endswith(".") or ".." in local
    if not at or dotted or not _LOCAL_PART.fullmatch(local) or not _DOMAIN.fullmatch(_ascii(domain)):
        raise wrong(
            f"{value!r} is not an e-mail address", "write it as name@domain, such as kim.akers@contoso.com"
        )
    if len(value) > _LONGEST_ADDRESS:
        raise wrong(
            f"the address is longer than {_LONGEST_ADDRESS} characters",
            "write the mailbox's primary SMTP address",
        )
    return value.lower()


def _ascii(domain: str) -> str:
    try:
        return domain.encode("idna").decode("ascii")
    except UnicodeError:
        return ""


def _host_port(value: str) -> str:
    try:
        parts = urlsplit(f"//{value}")
        valid = parts.hostname and parts.port and value == parts.netloc and _HOST.fullmatch(value)
    except ValueError:
        valid = None
    if not valid:
        raise wrong(
            f"{value!r} is not host:port",
            "write the host's name and the port of implicit TLS, such as localhost:993",
        )
    return value


def split_host_port(value: str) -> tuple[str, int]:
    """Host and port of a checked ``host:port``; an IPv6 address comes without its brackets."""
    parts = urlsplit(f"//{value}")
    assert parts.hostname
    assert parts.port
    return parts.hostname, parts.port


def _https_url(value: str) -> str:
    example = "write it as https://host or https://host:port"
    try:
        parts = urlsplit(value)
        port_is_valid = parts.port != 0
    except ValueError:
        raise wrong("is not a URL", example) from None
    if parts.username is not None or parts.password is not None:
        raise wrong(
            "holds a user name or password", f"{example}; credentials go into an environment variable"
        )
    if parts.scheme == "http":
        raise wrong(
            f"{value!r} is plain http; secrets and tokens travel over TLS only", "write https:// instead"
        )
    whole = _HOST.fullmatch(parts.netloc) and port_is_valid and not parts.query and not parts.fragment
    if parts.scheme != "https" or not whole:
        raise wrong(f"{value!r} is not an https URL", example)
    return value.rstrip("/")


def _graph_root(value: str) -> str:
    url = _https_url(value)
    if not urlsplit(url).path.endswith("/v1.0"):
        raise wrong(f"{value!r} does not end in Graph's version", "write it as https://host:port/v1.0")
    return url


def _authority(value: str) -> str:
    url = _https_url(value)
    if urlsplit(url).path:
        raise wrong(f"{value!r} has a path", "write the host alone; the tenant is taken from tenant.id")
    return url


def byte_size(value: object) -> object:
    """A size such as ``32 MiB`` in bytes; anything that is not text stays as it is."""
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        if not found:
            raise wrong(
                f"{value!r} is not a number of bytes",
                "write a number, with B, KiB, MiB or GiB where wanted: 32 MiB",
            )
        return int(found[1]) * _UNITS[(found[2] or "B").lower()]
    return value


TenantId = Annotated[str, AfterValidator(_tenant_id)]
ClientId = Annotated[str, AfterValidator(_client_id)]
EnvironmentName = Annotated[str, AfterValidator(_environment_name)]
Address = Annotated[str, AfterValidator(_address)]
HostPort = Annotated[str, AfterValidator(_host_port)]
GraphRoot = Annotated[str, AfterValidator(_graph_root)]
Authority = Annotated[str, AfterValidator(_authority)]
ByteSize = Annotated[int, BeforeValidator(byte_size)]
