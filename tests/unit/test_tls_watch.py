"""Certificates that are renewed: taken once they can be, and what cannot be used is left until it changes again."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest

from mesh.errors import TlsError, TlsNotTaken
from mesh.tls.watch import follow_files

SOON = timedelta(milliseconds=1)
LIMIT_S = 30.0


class Taker:
    """Takes the files, unless it is told to fail first; each is how it went."""

    def __init__(self, *failures: TlsError) -> None:
        self._failures = list(failures)
        self.seen: list[str] = []
        self.taken = asyncio.Event()

    def of(self, file: Path) -> Callable[[], Awaitable[None]]:
        async def take() -> None:
            self.seen.append(file.read_text())
            if self._failures:
                raise self._failures.pop(0)
            self.taken.set()

        return take


async def followed(file: Path, taker: Taker, *texts: str) -> list[str]:
    """Write one text after the other, each once the one before was seen; returns what was seen until it was taken."""
    file.write_text("at first")
    following = asyncio.create_task(follow_files((file,), taker.of(file), every=SOON))
    await asyncio.sleep(0)
    try:
        async with asyncio.timeout(LIMIT_S):
            for text in texts:
                file.write_text(text)
                while text not in taker.seen:  # noqa: ASYNC110 - the file has no event to wait for
                    await asyncio.sleep(0.001)
            await taker.taken.wait()
    finally:
        following.cancel()
    return taker.seen


async def test_what_could_not_be_handed_over_is_tried_again_though_nothing_changes(tmp_path: Path) -> None:
    taker = Taker(TlsNotTaken("nobody answers"), TlsNotTaken("nobody answers"))
    assert await followed(tmp_path / "file", taker, "renewed") == ["renewed"] * 3


async def test_what_cannot_be_used_is_looked_at_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taker = Taker(TlsError("half a key"))
    assert await followed(tmp_path / "file", taker, "half", "renewed, and whole") == ["half", "renewed, and whole"]
    assert "the old ones stay in use: half a key" in caplog.text
