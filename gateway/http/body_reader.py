"""Reading a JSON body as one type: what is wrong with it is told in OpenAI's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec

from gateway.http.invalid_body import explain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

T = TypeVar("T")


class BodyReader(Generic[T]):
    """Reads bodies of one kind."""

    def __init__(
        self,
        kind: type[T],
        *,
        allowed: Mapping[str, Collection[str]] | None = None,
        unsupported: Collection[str] = (),
        unsupported_values: Collection[str] = (),
    ) -> None:
        """Read bodies as ``kind``; what else is given is for the words (`explain`)."""
        self._decode = msgspec.json.Decoder(kind).decode
        self._allowed = allowed
        self._unsupported = frozenset(unsupported)
        self._unsupported_values = frozenset(unsupported_values)

    def read(self, body: bytes) -> T:
        """Read one.

        Raises:
            ApiError: 400, naming the parameter that is wrong.
        """
        try:
            return self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise explain(
                error,
                allowed=self._allowed,
                unsupported=self._unsupported,
                unsupported_values=self._unsupported_values,
            ) from error
