"""Opening a connection to NATS: where, as whom, and what is said when it breaks."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from mesh.config.address import TLS_SCHEME
from mesh.errors import BusRefused, BusUnavailable, BusUndecided, BusUntrusted
from mesh.tls.contexts import ClientTls, client_context

if TYPE_CHECKING:
    from nats.aio.client import Server

    from mesh.bus.direct_client import DirectClient

log = logging.getLogger(__name__)

_ROUND_PAUSE_S: Final = 0.25
"""Before the servers that were all tried in vain are tried once more."""
_REFUSED_PAUSES_S: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0)
"""The same where they refused us: somebody has to decide otherwise first."""
_PING_S: Final = 3
_REFUSED: Final = "authorization violation"
_UNDECIDED: Final = ("authentication timeout", "stale connection")
"""With or without a word, the broker ends the connection if nobody has decided in time."""
_DECIDED_WITHIN_S: Final = 4
"""Longer than the broker waits for the identity service (nats.conf), so that it is heard what it says then."""
_USUAL_S: Final = 2
_LOOK_S: Final = 0.1
_SLOW_S: Final = 10.0
"""How much longer a server may take that does not refuse us, and is just silent."""
_MOST_PINGS: Final = 2
"""Pings without an answer after which a server counts as hung: nine seconds, where nats-py waits for six minutes."""


class Login(Protocol):
    """Who somebody is that the broker does not know by a key of its own: it asks the identity service."""

    @property
    def lasts(self) -> timedelta:
        """How long a connection may last before all this must be shown anew."""
        ...

    def token(self, audience: str) -> str:
        """What to show at ``audience``, the ``host:port`` that was dialled."""
        ...

    def sign(self, audience: str, nonce: str) -> bytes:
        """The broker's nonce, signed, as text; empty where the token itself is the secret."""
        ...


class LinkOptions(Struct, frozen=True, kw_only=True):
    """How to connect: by a key that the broker knows, or by a login that it asks the identity service about."""

    servers: tuple[str, ...]
    """All servers of the cluster: where one does not serve, the others are tried. If one is ``tls://``, all are."""
    tls: ClientTls = ClientTls()
    """How such servers prove who they are."""
    name: str
    inbox_prefix: str
    seed_file: Path | None = None
    login: Login | None = None
    connect_timeout: timedelta = timedelta(seconds=5)
    may_ask_streams: bool = False
    """Whether the broker lets this user ask JetStream: services may, devices and people may not."""

    @property
    def is_secured(self) -> bool:
        """Whether nothing is said in plain text."""
        return any(url.startswith(TLS_SCHEME) for url in self.servers)


class _Turn:
    """Whose turn it is when a connection is lost: the other servers first, in any order, then the same one again."""

    def __init__(self, client: DirectClient) -> None:
        self._client = client
        self._tried: set[str] = set()
        self.refusals = 0

    def begin(self) -> None:
        self._tried = {self._client.server_address}
        self.refusals = 0

    def __call__(self, servers: list[Server], _: dict[str, Any]) -> tuple[Server | None, float]:
        fresh = [server for server in servers if server.uri.netloc not in self._tried]
        if not fresh:
            self._tried.clear()
        chosen = random.choice(fresh or servers)  # noqa: S311 - spreads clients over servers, guards nothing
        self._tried.add(chosen.uri.netloc)
        return chosen, self._pause_s(is_new_round=not fresh)

    def _pause_s(self, *, is_new_round: bool) -> float:
        if not self.refusals:
            return _ROUND_PAUSE_S if is_new_round else 0.0
        longest = _REFUSED_PAUSES_S[min(self.refusals, len(_REFUSED_PAUSES_S)) - 1]
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing


class _Complaints:
    """What nats-py complains about. While the bus is away it repeats itself at each try: then once is enough."""

    def __init__(self, client: DirectClient, options: LinkOptions) -> None:
        self._client = client
        self._name = options.name
        self._is_secured = options.is_secured
        self.turn = _Turn(client)
        self.is_only_slow = True
        """Whether nothing is wrong but that no answer has come."""
        self.hopeless = asyncio.Event()
        """Trying again changes nothing before somebody has decided otherwise."""
        self.mistrust = ""
        self._said: dict[str, None] = {}

    def __str__(self) -> str:
        return "; ".join(self._said)

    async def on_error(self, error: Exception) -> None:
        text = str(error) or type(error).__name__
        self.is_only_slow = isinstance(error, TimeoutError)
        if self._is_secured and isinstance(error, (ssl.SSLError, ConnectionResetError)):
            text = f"no TLS came about ({text}): a server without TLS, or one that wants another certificate of us"
        if _REFUSED in text.lower():
            self.turn.refusals += 1
            self.hopeless.set()
        elif isinstance(error, ssl.SSLCertVerificationError):
            self.turn.refusals += 1
            self.mistrust = error.verify_message
            self.hopeless.set()
        if self._client.is_connected or text not in self._said:
            log.warning("connection %s: %s", self._name, text)
        if not self._client.is_connected:
            self._said[text] = None

    async def on_drop(self) -> None:
        if self._client.is_renewing:
            log.debug("connection %s shows anew who it is", self._name)
        elif not self._client.is_leaving:
            log.warning("connection %s lost, reconnecting", self._name)
        self.turn.begin()
        self._client.on_drop()

    async def on_return(self) -> None:
        self._said.clear()
        level = logging.DEBUG if self._client.is_renewing else logging.INFO
        log.log(level, "connection %s is back, at %s", self._name, self._client.server_address)
        self._client.is_renewing = False
        self._client.on_return()

    async def on_end(self) -> None:
        self._client.on_end()


async def dial(client: DirectClient, options: LinkOptions) -> None:
    """Connect a client.

    Raises:
        BusRefused: if the broker does not let us in.
        BusUntrusted: if what answers there does not prove to be the broker.
        TlsError: if a certificate of ours cannot be used.
        BusUndecided: if nobody is there whom the broker could ask about us.
        BusUnavailable: if no server answers in time.
    """
    complaints = _Complaints(client, options)
    timeout_s = options.connect_timeout.total_seconds()
    where = ", ".join(options.servers)
    secured = _tls(options)
    connecting = asyncio.create_task(_connect(client, options, complaints, secured))
    hopeless = asyncio.create_task(complaints.hopeless.wait())
    try:
        await asyncio.wait((connecting, hopeless), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done() and complaints.is_only_slow:
            # Nobody has said no: what answers there, or this process, stood still for a while.
            await asyncio.wait((connecting, hopeless), timeout=_SLOW_S, return_when=asyncio.FIRST_COMPLETED)
            timeout_s += _SLOW_S
        if connecting.done():
            connecting.result()
            return
    except Exception as error:
        await client.leave()
        reason = str(error) or str(complaints) or type(error).__name__
        raise BusUnavailable(f"cannot reach the bus at {where}: {reason}") from error
    finally:
        hopeless.cancel()
        await _given_up(connecting)
    await client.leave()
    if complaints.mistrust:
        raise BusUntrusted(
            f"what answers at {where} does not prove to be the broker ({complaints.mistrust}): "
            f"see nats_ca and nats_name in the settings"
        )
    if complaints.hopeless.is_set():
        raise BusRefused(
            f"cannot reach the bus at {where}: it does not let {options.name} in (Authorization Violation)"
        )
    reason = str(complaints) or f"no answer within {timeout_s:g} s"
    if options.login is not None and any(word in reason.lower() for word in _UNDECIDED):
        raise BusUndecided(f"nobody decides who may connect at {where}: no identity service there, or not in time")
    raise BusUnavailable(f"cannot reach the bus at {where}: {reason}")


async def _given_up(connecting: asyncio.Task[None]) -> None:
    """Cancel it as often as it takes: `wait_for` of Python 3.11 swallows a cancellation that comes with its result.

    nats-py waits by it, and would try for ever then.
    """
    while not connecting.done():
        connecting.cancel()
        await asyncio.wait((connecting,), timeout=_LOOK_S)


async def _connect(
    client: DirectClient, options: LinkOptions, complaints: _Complaints, secured: dict[str, Any]
) -> None:
    await client.connect(
        servers=list(options.servers),
        name=options.name,
        inbox_prefix=options.inbox_prefix.encode(),
        nkeys_seed=str(options.seed_file) if options.seed_file else None,
        **_login(client, options.login),
        **secured,
        error_cb=complaints.on_error,
        disconnected_cb=complaints.on_drop,
        reconnected_cb=complaints.on_return,
        closed_cb=complaints.on_end,
        reconnect_to_server_handler=complaints.turn,
        ping_interval=_PING_S,
        max_outstanding_pings=_MOST_PINGS,
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=_ROUND_PAUSE_S,  # pyright: ignore[reportArgumentType] - used as seconds to sleep, so a float will do
        connect_timeout=_USUAL_S if options.login is None else _DECIDED_WITHIN_S,
        skip_subject_validation=True,
    )


def _tls(options: LinkOptions) -> dict[str, Any]:
    if not options.is_secured:
        return {}
    # TLS from the first byte: nats-py would else do without where what answers does not ask for it.
    return {
        "tls": client_context(options.tls.files),
        "tls_hostname": options.tls.name,
        "tls_handshake_first": True,
    }


def _login(client: DirectClient, login: Login | None) -> dict[str, Any]:
    """Both are asked for at each connection: the nonce and the server's address are others every time."""
    if login is None:
        return {}

    def token() -> str:
        return login.token(client.server_address)

    def sign(nonce: str) -> bytes:
        return login.sign(client.server_address, nonce)

    return {"token": token, "signature_cb": sign}
