"""How a person's program shows the broker who it is: by an API key, or by the token of a session.

Whoever sees that text can use it, the server that was dialled too: outside of one machine, use TLS.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from mesh.errors import CredentialsError
from mesh.secret_file import read_secret

if TYPE_CHECKING:
    from pathlib import Path

_LASTS: Final = timedelta(minutes=15)


class KeyLogin:
    """Shows a text that is the secret itself. Its own text never shows it."""

    lasts = _LASTS

    def __init__(self, text: str) -> None:
        """Show ``text``."""
        self._text = text

    def token(self, audience: str) -> str:
        """Return what is shown, wherever it is."""
        del audience
        return self._text

    def sign(self, audience: str, nonce: str) -> bytes:
        """Sign nothing: there is no key to sign with."""
        del audience, nonce
        return b""

    def __repr__(self) -> str:
        """Name it without its secret."""
        return "KeyLogin()"


def key_login(text: str | None, file: Path | None) -> KeyLogin | None:
    """Return a login by what was given: the text itself, or a file for its owner alone that holds it.

    Raises:
        CredentialsError: if the file cannot be used.
    """
    if text is None and file is not None:
        text = read_secret(file, if_missing="`ig3 keys issue` shows a key once").decode("utf-8", "replace").strip()
    if text is None:
        return None
    if not text or not text.isascii():
        raise CredentialsError("an API key is ASCII text that begins with ig3_")
    return KeyLogin(text)
