"""Files, folders and URLs that the configuration points at."""

import stat
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
from pydantic import AfterValidator, ValidationInfo

from pipelines.config.stores import store_url
from pipelines.config.values import site_of, wrong

_TLS_FILES = ("sslrootcert", "sslcert", "sslkey")
"""Parameters of PostgreSQL's URLs."""


def _resolve(value: str, info: ValidationInfo) -> Path:
    site = site_of(info)
    if "\0" in value:
        raise wrong("holds a character that no path can hold", "write the path anew")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        raise wrong(f"the user of {value} has no home folder", "write the path in full") from None
    return site.folder / path if site else path


def _readable(path: Path, remedy: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise wrong(f"{path} cannot be read: {error.strerror}", remedy) from None


def _ca_file(path: Path, info: ValidationInfo) -> Path:
    path = _resolve(str(path), info)
    if site_of(info):
        remedy = "name the PEM file that holds the private CA's certificate"
        if b"-----BEGIN CERTIFICATE-----" not in _readable(path, remedy):
            raise wrong(f"{path} holds no PEM certificate", remedy)
    return path


def _certificate_file(path: Path, info: ValidationInfo) -> Path:
    path = _resolve(str(path), info)
    if site_of(info):
        remedy = "name one PEM file that holds the certificate and its private key"
        content = _readable(path, remedy)
        if b"-----BEGIN CERTIFICATE-----" not in content:
            raise wrong(f"{path} holds no certificate", remedy)
        if b"PRIVATE KEY-----" not in content:
            raise wrong(f"{path} holds no private key", remedy)
    return path


def _mode(path: Path) -> int:
    """``st_mode`` of what is at ``path``; 0 where nothing is, in a folder that is there."""
    another = "create it, or name another place"
    try:
        parent = path.parent.stat().st_mode
        if not stat.S_ISDIR(parent):
            raise wrong(f"{path.parent} is not a folder", another)
        return path.stat().st_mode
    except FileNotFoundError:
        if path.parent.is_dir():
            return 0
        raise wrong(f"the folder {path.parent} is not there", another) from None
    except OSError as error:
        raise wrong(f"{path} cannot be used: {error.strerror}", "name another place") from None


def _lake(value: str, info: ValidationInfo) -> str:
    if not value.strip():
        raise wrong("is empty", "name a folder, such as ./lake")
    if "://" not in value:
        path = _resolve(value, info)
        if site_of(info):
            mode = _mode(path)
            if mode and not stat.S_ISDIR(mode):
                raise wrong(f"{path} is not a folder", "name a folder, new or existing")
        return str(path)
    return store_url(value, lambda path: _resolve(path, info))


def _index(value: str, info: ValidationInfo) -> str:
    remedy = "write an SQLAlchemy URL, such as sqlite:///mailover.db or postgresql://user@host/database"
    try:
        url = sa.make_url(value)
        if url.drivername == "postgresql":
            url = url.set(drivername="postgresql+psycopg")
        url.get_dialect()
    except (sa.exc.ArgumentError, ValueError, ImportError):
        raise wrong("is not a database URL that SQLAlchemy knows", remedy) from None
    if url.get_backend_name() == "sqlite":
        url = _sqlite(url, info)
    else:
        named = {name: str(_resolve(str(url.query[name]), info)) for name in _TLS_FILES if name in url.query}
        url = url.update_query_dict(named)
    return url.render_as_string(hide_password=False)


def _sqlite(url: sa.URL, info: ValidationInfo) -> sa.URL:
    if not url.database or url.database == ":memory:" or url.host:
        raise wrong("names no database file", "write three slashes and a path: sqlite:///mailover.db")
    if url.database.startswith("file:"):
        return url
    path = _resolve(url.database, info)
    if site_of(info) and stat.S_ISDIR(_mode(path)):
        raise wrong(f"{path} is a folder", "name a file, new or existing: sqlite:///mailover.db")
    return url.set(database=str(path))


CaFile = Annotated[Path, AfterValidator(_ca_file)]
CertificatePath = Annotated[Path, AfterValidator(_certificate_file)]
Lake = Annotated[str, AfterValidator(_lake)]
IndexUrl = Annotated[str, AfterValidator(_index)]
