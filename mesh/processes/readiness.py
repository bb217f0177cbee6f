"""How a process tells whoever started it that it is ready, and what it is busy with until then.

Whoever starts it (``ig3 up``, a test, an operator's script) passes the write end of a pipe and its number in
``IG3_READY_FD``. The process writes one JSON object per line::

    {"type":"progress","step":"loading the model","fraction":0.4}
    {"type":"ready","detail":"nats://127.0.0.1:4222","url":"nats://127.0.0.1:4222"}

Without the variable nothing is written. The end of the file without a ``ready`` line means that the process is gone.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from typing import Final

import msgspec
from msgspec import Struct

log = logging.getLogger(__name__)

READY_FD_VARIABLE: Final = "IG3_READY_FD"


class Progress(Struct, frozen=True, kw_only=True, tag="progress"):
    """What the process is busy with. ``fraction`` is 0 to 1, or None where nobody knows."""

    step: str
    fraction: float | None = None


class Ready(Struct, frozen=True, kw_only=True, tag="ready"):
    """The process serves. ``detail`` is for people; ``url`` is where it listens; ``models`` is what it answers with.

    Models that only turn texts into vectors are not among them. ``needs_key`` says whether whoever asks there must
    show one, ``needs_certificate`` whether a certificate.
    """

    detail: str
    url: str = ""
    models: tuple[str, ...] = ()
    needs_key: bool = False
    needs_certificate: bool = False


Announcement = Progress | Ready

_decoder: Final = msgspec.json.Decoder(Announcement)


def announce_progress(step: str, fraction: float | None = None) -> None:
    """Say what keeps this process from being ready; cheap, and never an error."""
    _write(Progress(step=step, fraction=fraction))


def announce_ready(
    detail: str,
    *,
    url: str = "",
    models: tuple[str, ...] = (),
    needs_key: bool = False,
    needs_certificate: bool = False,
) -> None:
    """Say that this process serves now, to its log as well."""
    log.info("ready: %s", detail)
    _write(Ready(detail=detail, url=url, models=models, needs_key=needs_key, needs_certificate=needs_certificate))


def read_announcement(line: bytes) -> Announcement | None:
    """Read one line of the pipe; None if it is not an announcement."""
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _write(announcement: Announcement) -> None:
    descriptor = _descriptor()
    if descriptor is not None:
        # Whoever listened may be gone, or slow: that is never this process's problem.
        with contextlib.suppress(OSError):
            os.write(descriptor, msgspec.json.encode(announcement) + b"\n")


@functools.cache
def _descriptor() -> int | None:
    """Take the pipe over, so that neither the variable nor the pipe goes on to processes that this one starts."""
    text = os.environ.pop(READY_FD_VARIABLE, "")
    if not text.isdigit():
        return None
    try:
        os.set_inheritable(int(text), False)
        os.set_blocking(int(text), False)
    except OSError:
        return None
    return int(text)
