"""Why somebody is not signed in."""

from __future__ import annotations

from typing import Final

from gateway.errors import GatewayError

BAD_REQUEST: Final = 400
UNAUTHORIZED: Final = 401
FORBIDDEN: Final = 403


class SignInRefused(GatewayError):
    """A sign-in comes to nothing. The message goes to whoever tries, and says what to do."""

    def __init__(self, message: str, *, code: str = "sign_in_refused", status: int = UNAUTHORIZED) -> None:
        """Keep what a program reads beside what people read."""
        super().__init__(message)
        self.code = code
        self.status = status
