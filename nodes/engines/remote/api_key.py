"""The key that a server asks for: read when it is needed, sent to that server alone, never shown."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final, Self

from mesh.errors import CredentialsError
from mesh.redaction import HIDDEN, hide_secrets
from mesh.secret_file import read_secret
from nodes.errors import EngineUnavailable

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_MESSAGE: Final = 300
_SENDABLE: Final = re.compile(r"[\x21-\x7e]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class ApiKey:
    """Where a key comes from, and the key as it was last read. Its text stands in no representation of this."""

    def __init__(self, *, file: Path | None = None, variable: str | None = None) -> None:
        """Take the key from the first line of ``file``, or from the environment; with neither there is none.

        Raises:
            EngineUnavailable: it cannot be read, or is no key.
        """
        self._file = file
        self._variable = variable
        self._text = self._made = ""
        self.read()

    @classmethod
    def of(cls, text: str) -> Self:
        """Take a key that this process has made itself."""
        key = cls()
        key._made = key._text = text
        return key

    def __repr__(self) -> str:
        return f"ApiKey({HIDDEN if self._text else 'none'})"

    def __bool__(self) -> bool:
        return bool(self._text)

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries of it."""
        return {"Authorization": f"Bearer {self._text}"} if self._text else {}

    def reveal(self) -> str:
        """Return the key itself, for a library that sends it."""
        return self._text

    def read(self) -> None:
        """Read it again: somebody may have changed it.

        Raises:
            EngineUnavailable: it cannot be read, or is no key.
        """
        text = self._read_text()
        if text and not _SENDABLE.fullmatch(text):
            raise EngineUnavailable(f"what {self._origin} holds is no API key: it has spaces, or letters beyond ASCII")
        self._text = text

    @property
    def _origin(self) -> str:
        return str(self._file) if self._file is not None else f"the variable {self._variable}"

    def _read_text(self) -> str:
        if self._file is not None:
            try:
                lines = read_secret(self._file.expanduser()).decode("utf-8", errors="replace").split("\n")
            except CredentialsError as error:
                raise EngineUnavailable(f"cannot use the API key: {error}") from error
            return lines[0].strip()
        if self._variable is None:
            return self._made
        text = os.environ.get(self._variable, "").strip()
        if not text:
            raise EngineUnavailable(f"the variable {self._variable} holds no API key: set it, or name another one")
        return text

    def hide(self, text: str) -> str:
        """Make what a server said fit for a log, and for strangers: one line, of bounded length, without secrets."""
        if self._text:
            text = text.replace(self._text, HIDDEN)
        line = hide_secrets(_CONTROL.sub(" ", text)).strip()
        return line if len(line) <= _LONGEST_MESSAGE else f"{line[:_LONGEST_MESSAGE]}..."
