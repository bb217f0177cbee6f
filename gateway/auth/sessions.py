"""Going on with a session, and ending it: another token of the same sign-in, or none any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from gateway.auth.proofs import SignedIn
from gateway.auth.refusal import BAD_REQUEST, SignInRefused
from mesh.access.session_tokens import SignedInBefore, issue_session, new_sign_in
from mesh.errors import CredentialRefused, SubjectTaken
from streams import subjects
from streams.access.events import SessionEnded
from streams.clock import now_ms
from streams.codec import encode
from streams.tokens import Token

if TYPE_CHECKING:
    from datetime import timedelta

    from mesh.access.caller import Caller, SessionOf
    from mesh.access.feed import AccessFeed
    from mesh.access.session_keys import SessionKeys
    from mesh.bus.link import Link
    from streams.access.events import Role
    from streams.access.fold import Membership

log = logging.getLogger(__name__)

_OVER: Final = "This session has gone on for as long as one may: sign in again."


class Sessions:
    """Issues tokens for who has signed in, for as long as a sign-in may go on."""

    def __init__(self, core: Link, feed: AccessFeed, keys: SessionKeys, longest: timedelta) -> None:
        """Sign with ``keys``; note ends through ``core``; let one sign-in go on for ``longest``."""
        self._core = core
        self._feed = feed
        self._keys = keys
        self._longest_s = int(longest.total_seconds())

    def begin(self, did: str, chosen: Membership, memberships: tuple[Membership, ...]) -> SignedIn:
        """Issue the first token of a sign-in."""
        now_s = now_ms() // 1000
        return self._issue(did, chosen.account, chosen.role, memberships, new_sign_in(now_s), now_s)

    async def renew(self, caller: Caller) -> SignedIn:
        """Issue another token of the sign-in that a caller's token was made of.

        Raises:
            SignInRefused: if the caller has not signed in.
            CredentialRefused: if the sign-in has gone on for long enough, or was ended.
            BusError: if it cannot be known now whether it was.
        """
        did, session, role = _signed_in(caller)
        # Behind its end no token is made: so its end need not be remembered for longer than one token is good.
        await self._feed.reach_sessions()
        if session.session_id in self._feed.ended:
            raise CredentialRefused("You have signed out: sign in again.", reason=f"{did} has ended this session")
        memberships = self._feed.access.memberships(did)
        began = SignedInBefore(session.session_id, session.signed_in_at_s)
        return self._issue(did, caller.account, role, memberships, began, now_ms() // 1000)

    async def end(self, caller: Caller) -> None:
        """End the sign-in that a caller's token was made of, everywhere; twice is fine.

        Raises:
            SignInRefused: if the caller has not signed in.
            BusError: if it cannot be stored now.
        """
        did, session, _ = _signed_in(caller)
        subject = subjects.session(Token(session.session_id))
        try:
            await self._core.append(subject, encode(SessionEnded(at_ms=now_ms(), did=did)))
        except SubjectTaken:
            pass
        else:
            log.info("%s has signed out of account %s", did, caller.account)
        # Refused by this gateway before whoever signs out is told so; others hear of it within milliseconds.
        await self._feed.reach_sessions()

    def _issue(
        self,
        did: str,
        account: Token,
        role: Role,
        memberships: tuple[Membership, ...],
        began: SignedInBefore,
        now_s: int,
    ) -> SignedIn:
        until_s = began.at_s + self._longest_s
        if now_s >= until_s:
            raise CredentialRefused(_OVER, reason=f"{did} signed in {now_s - began.at_s} s ago")
        token, session = issue_session(
            self._keys, did=did, account=account, role=role, now_s=now_s, until_s=until_s, goes_on=began
        )
        return SignedIn(
            token=token,
            expires_in=session.exp - now_s,
            session_expires_in=until_s - now_s,
            did=did,
            account=account,
            role=role,
            accounts=memberships,
        )


def _signed_in(caller: Caller) -> tuple[str, SessionOf, Role]:
    if caller.did is None or caller.session is None or caller.role is None:
        message = "This is for sessions: sign in first. An API key is good until it ends or `ig3 keys revoke` ends it."
        raise SignInRefused(message, code="not_a_session", status=BAD_REQUEST)
    return caller.did, caller.session, caller.role
