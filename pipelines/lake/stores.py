"""Where a lake can lie: a folder, or an object store reached through pyarrow.

Credentials come from the environment or from the machine's own role, as each cloud's
tools have them; none is in a URL.
"""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pyarrow.fs as pafs

_CONNECT_SECONDS = 10
_REQUEST_SECONDS = 60


def open_store(url: str) -> tuple[pafs.FileSystem, str]:
    """The file system of a lake's URL, and the lake's path in it; ``OSError`` where it is not there."""
    parts = urlsplit(url)
    if "://" not in url:
        return pafs.LocalFileSystem(), str(Path(url).absolute())
    if parts.scheme == "s3":
        root = f"{parts.netloc}{parts.path}".rstrip("/")
        return _s3(parts.netloc, dict(parse_qsl(parts.query))), root
    filesystem, root = pafs.FileSystem.from_uri(url)
    return filesystem, root.rstrip("/")


def _s3(bucket: str, given: dict[str, str]) -> pafs.FileSystem:
    if "region" not in given and "endpoint_override" not in given:
        given["region"] = pafs.resolve_s3_region(bucket)
    # With an early open every file would be a multipart upload: three requests instead of one PUT.
    return pafs.S3FileSystem(
        allow_delayed_open=True,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_REQUEST_SECONDS,
        **given,
    )
