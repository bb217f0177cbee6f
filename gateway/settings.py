"""Settings of the gateway."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

from msgspec import Meta, Struct

from gateway.by_account import by_account, choice, count, limits_by_account
from gateway.cache.rules import CacheMode, CacheRules, CacheTokens
from gateway.client_address import Network, parse_network
from gateway.fetching.fetcher import FetchUrls
from gateway.limits.rules import BoundRules, LimitRules
from mesh.config.address import parse_address
from mesh.tls.contexts import TlsFiles
from streams.access.limits import MOST, Bounds, Limit, Limits
from streams.subjects import ServiceClass
from streams.tasks.grounding import MOST_ROUNDS
from streams.tasks.placing import Redaction

OnDisconnect = Literal["continue", "cancel"]
"""What becomes of a task whose client hangs up: it ends as if nothing had happened, or it is cancelled."""

Auth = Literal["local", "required"]
"""Whether whoever reaches the gateway is let in, or only who shows a key or a session."""

LimitsStore = Literal["shared", "memory"]
"""Whether limits hold across gateways."""

SignUp = Literal["open", "closed"]
"""Whether somebody who belongs to no account gets one by signing in."""

_CHOICES: Final[tuple[OnDisconnect, ...]] = get_args(OnDisconnect)
_REDACTIONS: Final[tuple[Redaction, ...]] = get_args(Redaction)

MOST_OPEN: Final = 4096
"""What ``open_limit`` may be at most, and what each dispatcher lets wait of an account beyond what it holds: no task
that a gateway has taken within its limits is refused after that."""


class GatewaySettings(Struct, frozen=True, kw_only=True):
    """How one gateway serves HTTP."""

    http: Annotated[str, Meta(description="Where HTTP is served; port 0 picks a free one.", examples=["HOST:PORT"])] = (
        "127.0.0.1:8080"
    )
    http_hosts: Annotated[
        tuple[str, ...],
        Meta(description="Names under which clients may reach it, besides loopback names and IP addresses."),
    ] = ()
    http_origins: Annotated[
        tuple[str, ...],
        Meta(description="Origins of other sites whose pages may use it, like https://chat.example.org."),
    ] = ()
    auth: Annotated[
        Auth,
        Meta(
            description="Whether every request needs a key or a session, or (local, on loopback only) whoever asks "
            "without one speaks for the account of the settings."
        ),
    ] = "local"
    signup: Annotated[
        SignUp,
        Meta(description="Whether whoever signs in and belongs to no account gets one, or only members sign in."),
    ] = "closed"
    session_limit: Annotated[
        timedelta,
        Meta(description="How long a sign-in may be renewed, a quarter of an hour at a time; then one signs in again."),
    ] = timedelta(hours=12)
    sign_in_domains: Annotated[
        tuple[str, ...],
        Meta(description="Domains (HOST or HOST:PORT) for which wallets may sign in; none: the gateway's own names."),
    ] = ()
    http_tls_cert: Annotated[
        Path | None,
        Meta(description="Certificate of the gateway, with its chain; none: HTTP in plain text.", examples=["FILE"]),
    ] = None
    http_tls_key: Annotated[Path | None, Meta(description="Private key of that certificate.", examples=["FILE"])] = None
    http_tls_ca: Annotated[
        Path | None,
        Meta(description="Whose certificates clients of HTTP must show; none: they need none.", examples=["FILE"]),
    ] = None
    grpc: Annotated[
        str | None,
        Meta(
            description="Where the gRPC API is served, by the same certificate as HTTP (extra `grpc`); none: nowhere.",
            examples=["HOST:PORT"],
        ),
    ] = None
    http_body_limit: Annotated[int, Meta(gt=0, description="Largest request body.", extra={"unit": "bytes"})] = (
        1024 * 1024
    )
    file_limit: Annotated[
        int, Meta(gt=0, description="Largest file that may be uploaded.", extra={"unit": "bytes"})
    ] = 64 * 1024 * 1024
    batch_concurrency: Annotated[
        int, Meta(ge=1, le=1024, description="Requests of one batch that are open at once.")
    ] = 32
    file_search_tokens: Annotated[
        int,
        Meta(ge=256, le=MOST, description="Tokens of passages that a request which searches files is given at most."),
    ] = 4096
    file_search_rounds: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST_ROUNDS,
            description="How often a request that says nothing else searches files; the model decides after each time.",
        ),
    ] = 1
    vector_store_model: Annotated[
        str | None,
        Meta(
            description="What turns files of new vector stores into vectors; none: a model that is announced.",
            examples=["MODEL"],
        ),
    ] = None
    http_body_timeout: Annotated[
        timedelta, Meta(description="How long a client may take to send a request's body.")
    ] = timedelta(seconds=30)
    http_idle_timeout: Annotated[
        timedelta, Meta(description="After how long a connection without a whole request is closed.")
    ] = timedelta(seconds=75)
    http_connections_per_address: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Connections that one address may have open, and four times as many new ones a minute; more "
            "are cut off. Not counted: those of this machine and of trusted_proxies.",
        ),
    ] = 1000
    sse_keep_alive: Annotated[
        timedelta, Meta(description="After how long without an event a stream carries a comment.")
    ] = timedelta(seconds=15)
    urgency: Annotated[ServiceClass, Meta(description="The class of tasks whose request names none.")] = "interactive"
    on_disconnect: Annotated[
        OnDisconnect, Meta(description="What becomes of a task whose client hangs up and did not say.")
    ] = "continue"
    on_disconnect_of: Annotated[
        tuple[str, ...],
        Meta(description="The same for single accounts: ACCOUNT=cancel or ACCOUNT=continue."),
    ] = ()
    redaction_of: Annotated[
        tuple[str, ...],
        Meta(
            description="What nodes hide from providers outside for single accounts whose requests do not say it: "
            "ACCOUNT=off, ACCOUNT=standard or ACCOUNT=strict."
        ),
    ] = ()
    open_limit: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST_OPEN,
            description="Tasks that an account may have open, running or waiting; more are refused (429).",
        ),
    ] = 640
    open_limit_of: Annotated[tuple[str, ...], Meta(description="The same for single accounts: ACCOUNT=NUMBER.")] = ()
    requests_per_minute: Annotated[
        Limit | None,
        Meta(
            description="Requests that an account may make per minute; more are refused (429). The account `local` is "
            "limited only where it is named."
        ),
    ] = None
    requests_per_minute_of: Annotated[
        tuple[str, ...], Meta(description="The same for single accounts: ACCOUNT=NUMBER or ACCOUNT=none.")
    ] = ()
    tokens_per_minute: Annotated[
        Limit | None,
        Meta(description="Tokens that an account may use per minute, prompts and answers together."),
    ] = None
    tokens_per_minute_of: Annotated[
        tuple[str, ...], Meta(description="The same for single accounts: ACCOUNT=NUMBER or ACCOUNT=none.")
    ] = ()
    concurrent_streams: Annotated[Limit | None, Meta(description="Streams that an account may have open at once.")] = (
        None
    )
    concurrent_streams_of: Annotated[
        tuple[str, ...], Meta(description="The same for single accounts: ACCOUNT=NUMBER or ACCOUNT=none.")
    ] = ()
    most_output_tokens: Annotated[
        Limit | None,
        Meta(
            description="Tokens that one answer may have: more is refused (400), and else not written. The account "
            "`local` is bounded only where it is named."
        ),
    ] = None
    most_output_tokens_of: Annotated[
        tuple[str, ...], Meta(description="The same for single accounts: ACCOUNT=NUMBER or ACCOUNT=none.")
    ] = ()
    most_seconds: Annotated[
        Limit | None,
        Meta(description="Seconds that one answer may take: a later deadline is refused (400), and else not given."),
    ] = None
    most_seconds_of: Annotated[
        tuple[str, ...], Meta(description="The same for single accounts: ACCOUNT=NUMBER or ACCOUNT=none.")
    ] = ()
    reads_per_minute: Annotated[
        Limit | None,
        Meta(
            description="Requests that ask no model (tasks, events, models, the websocket and its frames) that an "
            "account may make per minute at this gateway; more are refused (429).",
        ),
    ] = 6000
    reads_per_minute_of: Annotated[
        tuple[str, ...], Meta(description="The same for single accounts: ACCOUNT=NUMBER or ACCOUNT=none.")
    ] = ()
    websockets_per_account: Annotated[
        Limit | None,
        Meta(description="Websockets that an account may have open at this gateway, which takes 10,000 in all."),
    ] = 1000
    websockets_per_account_of: Annotated[
        tuple[str, ...], Meta(description="The same for single accounts: ACCOUNT=NUMBER or ACCOUNT=none.")
    ] = ()
    answer_tokens: Annotated[
        int,
        Meta(
            ge=1,
            le=MOST,
            description="Tokens that a request whose max_tokens is not given counts for until its answer is whole.",
        ),
    ] = 1024
    limits_store: Annotated[
        LimitsStore,
        Meta(
            description="Where gateways keep what is taken of limits: in Redis where redis_url is given, else on the "
            "mesh (shared); or each counts for itself (memory)."
        ),
    ] = "shared"
    redis_url: Annotated[
        str | None,
        Meta(
            description="Redis, or what speaks its protocol, of which one database is this mesh's.",
            examples=["redis://HOST:PORT/DATABASE"],
            extra={"secret": True},
        ),
    ] = None
    fetch_urls: Annotated[
        FetchUrls,
        Meta(
            description="What is fetched when a request names a picture by a URL: nothing (off), what is public over "
            "https, or over http as well."
        ),
    ] = "https"
    cache: Annotated[
        CacheMode,
        Meta(
            description="Whether an answer is given again to who asks the same: where temperature is 0 or a seed is "
            "given (on), only where the request says so (opt-in), or never (off)."
        ),
    ] = "on"
    cache_ttl: Annotated[timedelta, Meta(description="How long an answer is given again.")] = timedelta(hours=1)
    cache_entry_limit: Annotated[
        int,
        Meta(
            ge=1024,
            le=512 * 1024,
            description="Largest answer that the cache keeps, in bytes.",
            extra={"unit": "bytes"},
        ),
    ] = 256 * 1024
    cache_shared_models: Annotated[
        tuple[str, ...],
        Meta(description="Models whose cached answers every account may have; of others each account has its own."),
    ] = ()
    cache_tokens: Annotated[
        CacheTokens,
        Meta(description="Whether tokens of cached answers count towards limits (counted) or do not (free)."),
    ] = "free"
    cache_patience: Annotated[
        timedelta, Meta(description="How long a request waits for the cache before it goes on without.")
    ] = timedelta(milliseconds=250)
    cache_events: Annotated[
        bool, Meta(description="Whether it is noted as events which answers were given from the cache, and to whom.")
    ] = True
    cache_similar_model: Annotated[
        str | None,
        Meta(
            description="The embedding model that finds similar questions where a request asks for that "
            "(x-ig3-cache: similar); none: nobody may ask for it."
        ),
    ] = "all-minilm-l6-v2"
    cache_similar_distance: Annotated[
        float,
        Meta(
            ge=0, le=1, description="How far apart similar questions are at most: 1 less the cosine of their vectors."
        ),
    ] = 0.1
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description="Addresses or networks of proxies whose X-Forwarded-For says who a client is."),
    ] = ()
    waiting_limit: Annotated[
        int, Meta(ge=1, description="Tasks that may wait for one model in one class; more are refused (503).")
    ] = 512
    dispatcher_patience: Annotated[
        timedelta, Meta(description="How long tasks are still taken while no dispatcher is heard; then they get a 503.")
    ] = timedelta(seconds=15)
    http_stop_timeout: Annotated[
        timedelta,
        Meta(
            description="How long running answers may go on when the gateway is asked to stop; "
            "then their readers are told where to go on, and 2 s later all connections are closed."
        ),
    ] = timedelta(seconds=10)

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        for place in (self.http, self.grpc):
            if place is not None:
                parse_address(place)
        if (self.http_tls_cert is None) != (self.http_tls_key is None):
            raise ValueError("http_tls_cert and http_tls_key are needed together")
        if self.http_tls_ca is not None and self.http_tls_cert is None:
            raise ValueError("a gateway that asks for certificates (http_tls_ca) shows one itself: give http_tls_cert")
        _ = self.disconnects, self.redactions, self.open_limits, self.limit_rules, self.bound_rules, self.read_limits
        _ = self.proxies
        if min(self.cache_ttl, self.cache_patience) <= timedelta(0):
            raise ValueError("cache_ttl and cache_patience must be longer than nothing: turn the cache off with cache")
        for domain in self.sign_in_domains:
            if "/" in domain or "@" in domain or not domain.strip():
                raise ValueError(f"{domain!r} is not a domain: write HOST or HOST:PORT")

    @property
    def tls(self) -> TlsFiles | None:
        """What the gateway shows; None: it serves plain HTTP."""
        if self.http_tls_cert is None:
            return None
        return TlsFiles(cert=self.http_tls_cert, key=self.http_tls_key, ca=self.http_tls_ca)

    @property
    def disconnects(self) -> dict[str, OnDisconnect]:
        """What a hang-up means for accounts that have a rule of their own."""
        return {account: choice(text, _CHOICES) for account, text in by_account(self.on_disconnect_of)}

    @property
    def redactions(self) -> dict[str, Redaction]:
        """What is hidden from providers for accounts that have a rule of their own."""
        return {account: choice(text, _REDACTIONS) for account, text in by_account(self.redaction_of)}

    @property
    def open_limits(self) -> dict[str, int]:
        """How many tasks accounts with a limit of their own may have open."""
        return {account: count(text, MOST_OPEN) for account, text in by_account(self.open_limit_of)}

    @property
    def limit_rules(self) -> LimitRules:
        """How much accounts may ask for per minute, and at once."""
        return LimitRules(
            usual=Limits(
                requests_per_minute=self.requests_per_minute,
                tokens_per_minute=self.tokens_per_minute,
                concurrent_streams=self.concurrent_streams,
            ),
            requests_of=limits_by_account(self.requests_per_minute_of),
            tokens_of=limits_by_account(self.tokens_per_minute_of),
            streams_of=limits_by_account(self.concurrent_streams_of),
        )

    @property
    def bound_rules(self) -> BoundRules:
        """How large answers may be, and how long they may take."""
        return BoundRules(
            usual=Bounds(most_output_tokens=self.most_output_tokens, most_seconds=self.most_seconds),
            tokens_of=limits_by_account(self.most_output_tokens_of),
            seconds_of=limits_by_account(self.most_seconds_of),
        )

    @property
    def read_limits(self) -> dict[str, int | None]:
        """How often accounts with a limit of their own may ask for what no model answers, per minute."""
        return limits_by_account(self.reads_per_minute_of)

    @property
    def websocket_limits(self) -> dict[str, int | None]:
        """How many websockets accounts with a limit of their own may have open."""
        return limits_by_account(self.websockets_per_account_of)

    @property
    def cache_rules(self) -> CacheRules:
        """How answers are cached."""
        return CacheRules(
            mode=self.cache,
            ttl=self.cache_ttl,
            most_bytes=self.cache_entry_limit,
            shared_models=frozenset(self.cache_shared_models),
            tokens=self.cache_tokens,
            patience=self.cache_patience,
            are_hits_kept=self.cache_events,
            similar_model=self.cache_similar_model,
            similar_distance=self.cache_similar_distance,
        )

    @property
    def proxies(self) -> tuple[Network, ...]:
        """The networks of proxies that are believed."""
        return tuple(parse_network(text) for text in self.trusted_proxies)
