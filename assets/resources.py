"""The configuration, lake and index that runs work with."""

from pathlib import Path

import dagster as dg
from pydantic import Field

from pipelines.config import Config, load_config
from pipelines.ingest.workspace import Workspace, open_workspace


class Mailover(dg.ConfigurableResource[None]):
    """Mailover's configuration file; the same one the command line uses."""

    config_path: str | None = Field(
        default=None, description="Path of mailover.yaml; else MAILOVER_CONFIG, else ./mailover.yaml."
    )

    def config(self) -> Config:
        """The configuration, read and checked anew."""
        return load_config(self._path)

    def workspace(self) -> Workspace:
        """Lake, index and sign-in, to be closed by the caller."""
        return open_workspace(self._path)

    @property
    def _path(self) -> Path | None:
        return Path(self.config_path) if self.config_path else None
