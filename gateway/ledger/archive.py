"""Months of the books as files: a line of JSON with the seal, and one for each event; whole, or not there."""

from __future__ import annotations

import hashlib
import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from gateway.errors import LedgerError
from gateway.ledger.recomputing import Difference
from mesh.history.ordered import OrderedReader, Start
from mesh.secret_file import make_private_folder
from streams.billing.events import PeriodSealed
from streams.billing.log import AnyBillingEvent
from streams.codec import decode_billing_event
from streams.errors import StreamsError
from streams.ledger.periods import digested
from streams.topology import BILLING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from mesh.bus.link import Link
    from mesh.history.stream_facts import Recorded

_FORMAT: Final = "ig3-books 1"
_WAIT_S: Final = 5.0
_DIGITS: Final = 16
"""Of the digest, in a file's name."""

_MOST_NAMED: Final = 1000


class ArchivedEvent(Struct, frozen=True, kw_only=True):
    """One event, as `ig3 ledger export` prints it too."""

    sequence: int
    subject: str
    event: AnyBillingEvent | None
    """For whoever reads; None: it is no event."""
    body_base64: bytes
    """What the hashes are over."""


class _Head(Struct, frozen=True, kw_only=True):
    format: str
    seal: PeriodSealed


class Archive(Struct, frozen=True, kw_only=True):
    """What a check of a file has found."""

    period: str
    events: int
    differences: tuple[Difference, ...]


def name_of(seal: PeriodSealed) -> str:
    """What the archive of a month is called: by the month and the beginning of its digest."""
    return f"books-{seal.period}-{seal.digest[:_DIGITS]}.jsonl"


def line_of(recorded: Recorded) -> bytes:
    """Return an event as a line, without its end."""
    try:
        event = decode_billing_event(recorded.data)
    except StreamsError:
        event = None
    line = ArchivedEvent(sequence=recorded.sequence, subject=recorded.subject, event=event, body_base64=recorded.data)
    return msgspec.json.encode(line)


async def write_archive(core: Link, seal: PeriodSealed, folder: Path) -> Path:
    """Write the events of a sealed month to a file, for its owner alone; one that is there is written anew.

    Raises:
        LedgerError: if the log does not hold what was sealed any more, or the disk does not take it.
        BusError: if the log cannot be read.
    """
    path = folder / name_of(seal)
    fresh = folder / f".{path.name}.{os.getpid()}.new"
    try:
        make_private_folder(folder)
        digest = await _write(core, seal, fresh)
        if digest != seal.digest:
            raise LedgerError(f"the log does not hold any more what was sealed of {seal.period}: `ig3 ledger verify`")
        fresh.replace(path)
        _sync(folder)
    except OSError as error:
        raise LedgerError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        fresh.unlink(missing_ok=True)
    return path


async def _write(core: Link, seal: PeriodSealed, path: Path) -> str:
    """Write the file, and see it onto the disk; returns the digest of its events."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(_Head(format=_FORMAT, seal=seal)) + b"\n")
        async with aclosing(_events(core, seal)) as events:
            async for each in events:
                digest.update(digested(each.sequence, each.subject, each.data))
                file.write(line_of(each) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


async def _events(core: Link, seal: PeriodSealed) -> AsyncGenerator[Recorded, None]:
    async with OrderedReader(core, BILLING, start=Start(after_sequence=seal.first_sequence - 1)) as reader:
        while not reader.is_caught_up:
            for each in await reader.take(wait_s=_WAIT_S):
                if each.sequence > seal.last_sequence:
                    return
                yield each


def check_archive(path: Path, seals: tuple[PeriodSealed, ...]) -> Archive:
    """Compare a file with the seal of its month.

    Raises:
        LedgerError: if it cannot be read, or is no archive of the books.
    """
    try:
        with path.open("rb") as file:
            head = _head(path, file.readline())
            digest, differences, events = hashlib.sha256(), list[Difference](), 0
            for number, line in enumerate(file, 2):
                events += 1
                where = f"line {number}"
                try:
                    each = msgspec.json.decode(line, type=ArchivedEvent)
                except msgspec.DecodeError as error:
                    differences.append(Difference(where=where, detail=f"it is no event of the books: {error}"))
                    continue
                digest.update(digested(each.sequence, each.subject, each.body_base64))
                if each.event != _read(each.body_base64):
                    differences.append(Difference(where=where, detail="it shows another event than its body is"))
    except OSError as error:
        raise LedgerError(f"{path} cannot be read: {error.strerror or error}") from error
    differences += _compare(head.seal, seals, digest.hexdigest(), events)
    return Archive(period=head.seal.period, events=events, differences=tuple(differences[:_MOST_NAMED]))


def _compare(claimed: PeriodSealed, seals: tuple[PeriodSealed, ...], digest: str, events: int) -> Iterator[Difference]:
    period = claimed.period
    sealed = next((each for each in seals if each.period == period), None)
    if sealed is None:
        yield Difference(where=period, detail="it is not sealed on the log")
        return
    if claimed != sealed:
        yield Difference(where="line 1", detail=f"that is not the seal of {period} that stands on the log")
    if (digest, events) != (sealed.digest, sealed.events):
        yield Difference(where=period, detail=f"these {events} events are not the {sealed.events} that were sealed")


def _head(path: Path, line: bytes) -> _Head:
    try:
        head = msgspec.json.decode(line, type=_Head)
    except msgspec.DecodeError as error:
        raise LedgerError(f"{path} is no archive of the books: {error}") from error
    if head.format != _FORMAT:
        raise LedgerError(f"{path} is of the format {head.format[:40]!r}, and this is for {_FORMAT!r}: is it newer?")
    return head


def _read(body: bytes) -> AnyBillingEvent | None:
    try:
        return decode_billing_event(body)
    except StreamsError:
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
