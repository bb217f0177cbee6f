"""Who somebody is, by the text that is shown: an API key or the token of a session. No HTTP and no bus is known here.

What a text opens is asked of the accounts every time, so that a revoked key, a member who has left or a closed account
is refused as soon as this process has heard of it.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Final

from mesh.access.api_keys import PREFIX, parse_key
from mesh.access.caller import Caller, SessionOf
from mesh.access.session_tokens import check_time, kid_of, looks_like_token, read_session
from mesh.errors import CredentialRefused, WrittenByNewer
from streams.access.fold import RIGHTS
from streams.clock import now_ms
from streams.tokens import Token

if TYPE_CHECKING:
    from mesh.access.api_keys import ShownKey
    from mesh.access.feed import AccessFeed
    from mesh.access.session_keys import SessionKeys
    from mesh.access.session_tokens import Session
    from streams.access.events import Right
    from streams.access.fold import ApiKey

_REMEMBERED: Final = 4096
_WRONG_KEY: Final = "This API key is not valid."
_NEITHER: Final = "This is neither an API key (ig3_…) nor the token of a session."


def is_credential(text: str) -> bool:
    """Whether a text has the form of what is checked here, so that it is never passed over as something else."""
    return text.startswith(PREFIX) or looks_like_token(text)


class CredentialsCheck:
    """Checks what callers show, against the accounts as this process knows them."""

    def __init__(self, feed: AccessFeed, sessions: SessionKeys) -> None:
        """Ask ``feed``, which is started and stopped by its owner."""
        self._feed = feed
        self._sessions = sessions
        self._verified: dict[str, tuple[Session, str]] = {}
        """What was verified, and with which key."""
        self._generation = 0

    async def authenticate_text(self, text: str) -> Caller:
        """Return who shows this text.

        Raises:
            CredentialRefused: if it opens nothing.
            WrittenByNewer: if a newer version has written of the account.
            BusError: if somebody unknown may only be unknown because the bus is away.
        """
        if text.startswith(PREFIX):
            return await self._of_key(text)
        if not looks_like_token(text):
            raise CredentialRefused(_NEITHER, reason="what is shown is neither an API key nor a session token")
        return await self._of_session(*self._session(text))

    async def caller_of(self, account: Token, key_id: str | None) -> Caller | None:
        """Return the caller that somebody would be who showed a key now, or for None a member of the account.

        None: the key, or the account, is not good any more.

        Raises:
            BusError: if that cannot be known now.
        """
        caller = self._caller_of(account, key_id)
        if caller is None:
            # It may have been issued a moment ago, and whoever is refused here is refused for good.
            await self._feed.catch_up()
            caller = self._caller_of(account, key_id)
        return caller

    def _caller_of(self, account: Token, key_id: str | None) -> Caller | None:
        access = self._feed.access
        standing = access.account(account)
        if standing is None or not standing.is_open or access.unreadable(account) is not None:
            return None
        if key_id is None:
            return Caller(account=account, how="session", rights=RIGHTS["member"], role="member")
        key = access.key(key_id)
        return _of_key(key) if key is not None and key.account == account and self._is_good(key) else None

    def still_holds(self, caller: Caller) -> bool:
        """Whether somebody who was let in would be let in now, as the same."""
        if caller.expires_at_ms is not None and now_ms() >= caller.expires_at_ms:
            return False
        if caller.did is not None and self._feed.access.role(caller.account, caller.did) != caller.role:
            return False
        return self.may_go_on(caller, None)

    def may_go_on(self, caller: Caller, right: Right | None) -> bool:
        """Whether nobody has taken away what somebody was let in with, and with it a right that is still needed.

        That it is over by itself takes nothing away: what was begun in time goes on.
        """
        access = self._feed.access
        if access.unreadable(caller.account) is not None:
            return False
        if caller.key_id is not None:
            key, account = access.key(caller.key_id), access.account(caller.account)
            return key is not None and key.revoked_at_ms is None and account is not None and account.is_open
        if caller.did is None:
            return True
        role = access.role(caller.account, caller.did)
        return role is not None and (right is None or right in RIGHTS[role]) and self._goes_on(caller.session)

    def _goes_on(self, session: SessionOf | None) -> bool:
        if session is None:
            return True
        return session.session_id not in self._feed.ended and self._sessions.verifying(session.kid) is not None

    # --- keys ----------------------------------------------------------------------------------------------------

    async def _of_key(self, text: str) -> Caller:
        shown = parse_key(text)
        if shown is None:
            raise CredentialRefused(_WRONG_KEY, reason="what begins like an API key is not written like one")
        key = self._known(shown)
        if key is None:
            await self._feed.look()
            key = self._known(shown)
        if key is None:
            raise CredentialRefused(_WRONG_KEY, reason=f"there is no key {shown.key_id}, or its secret is another")
        self._refuse_newer(key.account)
        if not self._is_good(key):
            message = "This API key was revoked, is over, or its account was closed."
            raise CredentialRefused(message, reason=f"key {key.key_id} of {key.account} is no longer good")
        return _of_key(key)

    def _known(self, shown: ShownKey) -> ApiKey | None:
        key = self._feed.access.key(shown.key_id)
        return key if key is not None and hmac.compare_digest(key.digest, shown.digest) else None

    def _is_good(self, key: ApiKey) -> bool:
        account = self._feed.access.account(key.account)
        return account is not None and account.is_open and key.is_good(now_ms=now_ms())

    # --- sessions ------------------------------------------------------------------------------------------------

    def _session(self, text: str) -> tuple[Session, str]:
        """Verify a token, or remember that it was; a key that is gone takes its sessions along."""
        now_s = now_ms() // 1000
        if self._generation != self._sessions.generation:
            self._generation = self._sessions.generation
            self._verified.clear()
        known = self._verified.get(text)
        if known is not None:
            check_time(known[0], now_s=now_s)
            return known
        known = read_session(self._sessions, text, now_s=now_s), kid_of(text)
        if len(self._verified) >= _REMEMBERED:
            self._verified.clear()
        self._verified[text] = known
        return known

    async def _of_session(self, session: Session, kid: str) -> Caller:
        account, access = Token(session.account), self._feed.access
        if session.sid in self._feed.ended:
            raise CredentialRefused(
                "You have signed out: sign in again.", reason=f"{session.sub} has ended this session"
            )
        role = access.role(account, session.sub)
        if role is None:
            # Who has just joined at another gateway.
            await self._feed.look()
            role = access.role(account, session.sub)
        self._refuse_newer(account)
        if role is None:
            raise CredentialRefused(
                f"You belong to account {account} no longer: sign in again.",
                reason=f"{session.sub} is no member of {account}",
            )
        return Caller(
            account=account,
            how="session",
            rights=RIGHTS[role],
            role=role,
            did=session.sub,
            session=SessionOf(session_id=session.sid, signed_in_at_s=session.auth_time, kid=kid),
            expires_at_ms=session.exp * 1000,
        )

    def _refuse_newer(self, account: Token) -> None:
        if (reason := self._feed.access.unreadable(account)) is not None:
            raise WrittenByNewer(f"account {account} cannot be judged by this version: {reason}")


def _of_key(key: ApiKey) -> Caller:
    return Caller(
        account=key.account,
        how="key",
        rights=frozenset(key.rights),
        key_id=key.key_id,
        models=key.models,
        tools=key.tools,
        limits=key.limits,
        bounds=key.bounds,
        expires_at_ms=key.expires_at_ms,
    )
