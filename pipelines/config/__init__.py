"""The configuration: what ``mailover.yaml`` may say, read and checked."""

from pipelines.config.credentials import (
    Certificate,
    CertificateCredential,
    CertificateFile,
    SecretCredential,
)
from pipelines.config.cutover import CutoverSettings
from pipelines.config.folders import FolderRules
from pipelines.config.loading import load_config
from pipelines.config.models import Config, Endpoints, IngestSettings, MailboxConfig, Storage, Tenant
from pipelines.config.starter import write_starter_config

__all__ = [
    "Certificate",
    "CertificateCredential",
    "CertificateFile",
    "Config",
    "CutoverSettings",
    "Endpoints",
    "FolderRules",
    "IngestSettings",
    "MailboxConfig",
    "SecretCredential",
    "Storage",
    "Tenant",
    "load_config",
    "write_starter_config",
]
