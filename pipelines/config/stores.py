"""URLs of object stores: what they may say beside bucket and path, and what never."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pipelines.config.values import wrong

_PARAMETERS = {
    "s3": ("region", "endpoint_override", "scheme", "tls_ca_file_path"),
    "gs": ("endpoint_override", "scheme"),
    "abfss": ("blob_storage_authority", "dfs_storage_authority", "enable_tls"),
}
"""pyarrow's own names, so that the URL is one for any other reader that uses it."""
_SERVERS = ("endpoint_override", "blob_storage_authority", "dfs_storage_authority")
_SECRETS = ("access_key", "secret", "token", "password", "account_key", "sas", "credential")
_THIS_COMPUTER = ("localhost", "127.0.0.1", "[::1]")


def store_url(value: str, resolve: Callable[[str], Path]) -> str:
    """The URL with the paths in it made absolute by ``resolve``; raises what pydantic takes for a fault."""
    parts = urlsplit(value)
    if parts.scheme not in _PARAMETERS or not parts.netloc:
        raise wrong(
            "is neither a folder nor the URL of an object store (s3://, gs://, abfss://)",
            "write a folder, such as ./lake, or a URL, such as s3://bucket/lake",
        )
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    _refuse_secrets(parts.scheme, parts.netloc, given)
    possible = _PARAMETERS[parts.scheme]
    for name in given:
        if name not in possible:
            raise wrong(
                f"has the parameter {name}, which is not known", f"possible are {', '.join(possible)}"
            )
    _refuse_plain_http(given)
    if "tls_ca_file_path" in given:
        given["tls_ca_file_path"] = str(resolve(given["tls_ca_file_path"]))
    return parts._replace(query=urlencode(given, quote_via=quote, safe="/:")).geturl()


def _refuse_secrets(scheme: str, netloc: str, given: dict[str, str]) -> None:
    # abfss://container@account.dfs.core.windows.net names no user.
    user = netloc.rpartition("@")[0]
    if (":" in user or (user and scheme != "abfss")) or any(
        word in name.lower() for name in given for word in _SECRETS
    ):
        raise wrong(
            "holds a secret",
            "take it out; the object store's own environment variables or roles carry credentials",
        )


def _refuse_plain_http(given: dict[str, str]) -> None:
    plain = given.get("scheme", "https") != "https" or given.get("enable_tls", "true") != "true"
    servers = [given[name] for name in _SERVERS if name in given]
    here = [server.rpartition(":")[0] or server for server in servers]
    if plain and not (here and all(each in _THIS_COMPUTER for each in here)):
        raise wrong(
            "would send mail without TLS",
            "take scheme or enable_tls out; plain http is for an emulator on this computer alone",
        )
