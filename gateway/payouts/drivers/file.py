"""Payouts as lines of a file, for whoever pays by hand or by a bank's batch."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from typing import TYPE_CHECKING, ClassVar, Final

from gateway.errors import PayoutError
from gateway.payouts.drivers.driver import Fate, Outcome, Prepared
from gateway.payouts.drivers.in_words import any_address, in_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta
    from pathlib import Path

    from streams.payouts.payout import DriverName, Payout

_PRIVATE: Final = 0o600


class FileDriver:
    """Appends each payout once: one JSON object a line. A payout is confirmed as soon as its line is on disk."""

    name: ClassVar[DriverName] = "file"

    def __init__(self, path: Path) -> None:
        """Write to ``path``; it is made, for its owner alone, if it is not there."""
        self._path = path

    def check_address(self, address: str) -> str:
        """Take any printable text: what it means is between the operator and the payee."""
        return any_address(address)

    async def prepare(self, payout: Payout, *, underway: tuple[int, ...]) -> Prepared:
        """Nothing is needed beforehand."""
        return Prepared(reference=payout.id)

    async def hand_over(self, payout: Payout, prepared: Prepared, *, before: tuple[Prepared, ...] = ()) -> Outcome:
        """Append the payout's line, unless it stands there."""
        try:
            await asyncio.to_thread(self._append_once, payout, prepared.reference)
        except OSError as error:
            raise PayoutError(f"{self._path} cannot be written: {error.strerror or error}") from error
        return Outcome(fate=Fate.CONFIRMED, detail=f"written to {self._path.name}")

    async def replace(self, payout: Payout, handed: tuple[Prepared, ...], *, waited: timedelta) -> None:
        """Nothing ever is: a line is there, or it is not."""

    def _append_once(self, payout: Payout, reference: str) -> None:
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, _PRIVATE)
        with os.fdopen(descriptor, "r+b") as file:
            # Whoever else looks for the line looks again when it is there: until the file is closed.
            fcntl.flock(file, fcntl.LOCK_EX)
            if reference in _ids(file.read()):
                return
            # Behind half a line, which a power cut may have left, a new one begins.
            file.write(_gap(file.seek(0, os.SEEK_END), self._path) + in_json(payout) + b"\n")
            file.flush()
            os.fsync(file.fileno())


def _gap(size: int, path: Path) -> bytes:
    if size == 0:
        return b""
    with path.open("rb") as file:
        file.seek(size - 1)
        return b"" if file.read(1) == b"\n" else b"\n"


def _ids(content: bytes) -> Iterator[str]:
    for line in content.splitlines():
        try:
            yield json.loads(line)["id"]
        except (ValueError, KeyError, TypeError):
            continue  # Half a line, or something that a person wrote there.
