"""The pictures of one request: those that came with it, and those that are fetched once there is room for its task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.fetching.fetcher import FetchFailed, FetchRefused
from gateway.http.errors import ApiError
from gateway.http.submitting import INPUT_LIMIT
from gateway.intake.pictures import DATA_SCHEME, PictureRefused, picture_in, picture_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.fetching.fetcher import Fetcher
    from gateway.intake.pictures import Picture

MOST_FETCHED: Final = 8
"""Pictures of one request that are fetched."""
_ACCEPT: Final = "image/png, image/jpeg, image/gif, image/webp"


class Pictures:
    """Told by their URLs: the same URL twice is one picture."""

    def __init__(self, urls: Iterable[tuple[str, str]], fetcher: Fetcher) -> None:
        """Take pictures by URL, each with the name of the parameter that it stands in; nothing is fetched yet.

        Raises:
            ApiError: 400, if one is no picture, or there is nothing to fetch it from.
        """
        self._fetcher = fetcher
        self.here: dict[str, Picture] = {}
        """Those that are there."""
        self.to_fetch: dict[str, str] = {}
        """Where the others stand, by their URL."""
        for url, place in urls:
            if url not in self.here and url not in self.to_fetch:
                self._take(url, place)

    def _take(self, url: str, place: str) -> None:
        try:
            if url[: len(DATA_SCHEME)].lower() == DATA_SCHEME:
                self.here[url] = picture_in(url)
                return
            self._fetcher.check(url)
        except (PictureRefused, FetchRefused) as error:
            raise _unusable(place, str(error)) from error
        if len(self.to_fetch) == MOST_FETCHED:
            raise _unusable(place, f"no more than {MOST_FETCHED} pictures are fetched for one request")
        self.to_fetch[url] = place

    async def all_there(self) -> dict[str, Picture]:
        """Fetch what is not there.

        Raises:
            ApiError: 400, naming the first that does not come, or is no picture.
        """
        fetching = (self._fetch(url, place) for url, place in self.to_fetch.items())
        # All of them end before the first failure is told, so that none goes on for nobody.
        fetched = await asyncio.gather(*fetching, return_exceptions=True)
        there = dict(self.here)
        for url, picture in zip(self.to_fetch, fetched, strict=True):
            if isinstance(picture, BaseException):
                raise picture
            there[url] = picture
        return there

    async def _fetch(self, url: str, place: str) -> Picture:
        try:
            # More does not fit into a task.
            return picture_of(await self._fetcher.fetch(url, most_bytes=INPUT_LIMIT, accept=_ACCEPT))
        except (FetchRefused, FetchFailed, PictureRefused) as error:
            raise _unusable(place, str(error)) from error


def _unusable(place: str, why: str) -> ApiError:
    return ApiError(400, f"Invalid value for '{place}': {why}.", code="invalid_image", param=place)
