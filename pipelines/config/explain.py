"""What pydantic found, in words for the person who wrote the file."""

import difflib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ValidationError

from pipelines.config.credentials import CertificateCredential, CertificateFile, SecretCredential
from pipelines.config.document import Fault, Loc
from pipelines.config.folders import FolderRules
from pipelines.config.models import Config, Endpoints, IngestSettings, MailboxConfig, Storage, Tenant
from pipelines.config.secrets import is_secret

_SECTIONS: dict[str, tuple[type[BaseModel], ...]] = {
    "": (Config,),
    "tenant": (Tenant,),
    "tenant.credential": (SecretCredential, CertificateCredential),
    "tenant.credential.certificate": (CertificateFile,),
    "tenant.endpoints": (Endpoints,),
    "storage": (Storage,),
    "mailboxes[]": (MailboxConfig,),
    "mailboxes[].folders": (FolderRules,),
    "ingest": (IngestSettings,),
}
_KEYS = {
    where: [key for model in models for key in model.model_fields] for where, models in _SECTIONS.items()
}
_MISSING = {
    "tenant": "add the tenant: id, client_id and credential",
    "tenant.id": "add the Directory (tenant) ID from the app registration's overview page",
    "tenant.client_id": "add the Application (client) ID from the app registration's overview page",
    "tenant.credential": "add secret_env: NAME, or certificate: {path: app.pem}",
    "tenant.credential.secret_env": "name the environment variable that holds the client secret",
    "tenant.credential.certificate.path": "name the PEM file that holds certificate and private key",
    "storage": "add the storage: lake and index",
    "storage.lake": "name a folder, such as ./lake, or a URL, such as s3://bucket/lake",
    "storage.index": "write an SQLAlchemy URL, such as sqlite:///mailover.db",
    "mailboxes": "add at least one mailbox: - address: name@domain",
    "mailboxes[].address": "add the mailbox's primary SMTP address",
}
_TYPES = {
    "string_type": ("must be text", "put the value in quotes"),
    "tuple_type": ("must be a list", "write [one, another], or a line with - for each"),
    "model_type": ("must be a section of keys and values", "write its keys below it, indented"),
    "model_attributes_type": ("must be a section of keys and values", "write its keys below it, indented"),
    "path_type": ("must be a path", "put the value in quotes"),
    "bool_type": ("must be true or false", "write true or false"),
    "bool_parsing": ("must be true or false", "write true or false"),
    "invalid_key": ("is not a key", "keys are words"),
    "int_type": ("must be a whole number", "write digits, without quotes"),
    "string_too_short": ("is empty", "write a value, or take the key out"),
}


def explain(error: ValidationError) -> Iterator[Fault]:
    """A fault for each thing pydantic found; values that may be secrets are never repeated.

    Keys that hold secrets are left out: ``written_secrets`` also finds those pydantic does not reach.
    """
    for found in error.errors(include_url=False):
        loc = _in_file(found["loc"])
        if found["type"] == "extra_forbidden" and is_secret(loc[-1]):
            continue
        what, remedy = _words(found["type"], _pattern(loc), loc, found.get("ctx", {}), found["input"])
        yield Fault(loc, what, remedy)


def _in_file(loc: Loc) -> Loc:
    # pydantic names the member of a union in the path; the file does not.
    if loc[:2] == ("tenant", "credential"):
        return loc[:2] + loc[3:]
    return loc


def _pattern(loc: Loc) -> str:
    text = "".join("[]" if isinstance(step, int) else f".{step}" for step in loc)
    return text.removeprefix(".")


def _words(kind: str, pattern: str, loc: Loc, context: dict[str, Any], value: object) -> tuple[str, str]:
    if kind == "mailover":
        return context["what"], context["remedy"]
    if kind == "extra_forbidden":
        return _unknown_key(str(loc[-1]), pattern.rpartition(".")[0])
    if kind == "missing":
        return "is missing", _MISSING.get(pattern, "add it")
    if value is None and kind != "invalid_key":
        return "is empty", _MISSING.get(pattern, "write a value, or take the key out")
    if kind == "literal_error":
        return (
            f"{value!r} is not one of the possible values",
            f"write {context['expected'].replace(chr(39), '')}",
        )
    if kind in {"greater_than", "greater_than_equal", "less_than_equal"}:
        return "is out of range", _range(kind, context)
    return _TYPES.get(kind, (f"does not fit ({kind})", "see docs/configuration.md"))


def _range(kind: str, context: dict[str, Any]) -> str:
    (limit,) = context.values()
    words = {"greater_than": "more than", "greater_than_equal": "at least", "less_than_equal": "at most"}
    return f"write a number of {words[kind]} {limit}"


def _unknown_key(key: str, section: str) -> tuple[str, str]:
    if section == "tenant.credential" and key in _KEYS[section]:
        return "stands beside certificate", "keep one of the two: a client secret or a certificate"
    homes = [where or "the top level" for where, keys in _KEYS.items() if key in keys]
    known = _KEYS.get(section, [])
    near = difflib.get_close_matches(key.lower(), known, n=1)
    if near:
        return "unknown key", f"did you mean {near[0]}?"
    if homes:
        return "unknown key here", f"it belongs under {' or '.join(homes)}"
    return "unknown key", f"possible here: {', '.join(known)}"
