"""Logging, configured once per process: lines for people or JSON objects, on stderr, never with a secret in them."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from mesh.redaction import hide_secrets

if TYPE_CHECKING:
    from mesh.config.settings import MeshSettings

OURS: Final = ("streams", "mesh", "nodes", "gateway")
"""The packages whose words ``log_level`` is about."""

_TEXT: Final = "%(asctime)s %(levelname)-7s {process}: %(message)s"


def configure_logging(process: str, settings: MeshSettings) -> None:
    """Send this process's log to stderr as ``settings`` say; ``process`` is its name in each line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(make_formatter(process, settings.log_format))
    level = getattr(logging, settings.log_level.upper())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries say at "info" and "debug" what our own modules say better, or what we gave them: URLs with keys in them.
    root.setLevel(max(level, logging.WARNING))
    for package in OURS:
        logging.getLogger(package).setLevel(level)


def make_formatter(process: str, log_format: Literal["text", "json"]) -> logging.Formatter:
    """Make the formatter of a process; both kinds hide secrets."""
    return _JsonLines(process) if log_format == "json" else _TextLines(process)


class _TextLines(logging.Formatter):
    """``2026-11-23 22:22:54,923 INFO    gateway: ready: http://127.0.0.1:8080``."""

    def __init__(self, process: str) -> None:
        super().__init__(_TEXT.format(process=process.replace("%", "%%")))

    def format(self, record: logging.LogRecord) -> str:
        return hide_secrets(super().format(record))


class _JsonLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    time: datetime
    level: str
    process: str
    logger: str
    message: str
    error: str = ""


class _JsonLines(logging.Formatter):
    """One JSON object per line, for machines that collect logs."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line = _JsonLine(
            time=datetime.fromtimestamp(record.created, UTC),
            level=record.levelname.lower(),
            process=self._process,
            logger=record.name,
            message=hide_secrets(record.getMessage()),
            error=hide_secrets(self.formatException(record.exc_info)) if record.exc_info else "",
        )
        return msgspec.json.encode(line).decode()
