"""The public client: send tasks to a mesh and read their answers, with no more rights than a user has.

    async with await mesh.connect() as client:
        answer = await client.submit("smollm2-135m-instruct", "Why is the sky blue?", max_tokens=64)
        async for piece in answer:
            print(piece.text, end="", flush=True)

It survives restarts of the broker and of every service: what was missed is asked for, nothing comes twice.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Final, Self, TypedDict, Unpack

from nats.errors import Error as NatsError

from mesh.bus.dialing import LinkOptions
from mesh.bus.link import Link
from mesh.bus.live import LiveFeed
from mesh.client.account_watch import AccountWatch
from mesh.client.answer import Answer
from mesh.client.embedding import SMALL_EMBEDDING_MODEL, Embeddings, EmbedOptions, embeddings_of
from mesh.client.options import ClientOptions, ConnectOptions, client_options
from mesh.client.user_source import UserCalls, UserSource
from mesh.errors import (
    BusUnavailable,
    CredentialsError,
    PublishRefused,
    PublishUnknown,
    StoreFull,
    SubjectTaken,
    TaskRefused,
)
from streams import subjects
from streams.clock import now_ms
from streams.codec import decode, encode
from streams.errors import UndecodableEvent
from streams.events import TaskSubmitted
from streams.subjects import SERVICE_CLASSES, ServiceClass, TaskKey
from streams.tasks.chat import Message, Sampling, TokenBias
from streams.tasks.task_id import new_task_id, parse_task_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.messages import CancelOutcome
    from streams.tasks.placing import Rules
    from streams.tasks.tools import OutputFormat, Tools

_REFUSAL_PAUSE_S: Final = 0.25
_REFUSED_PATIENCE_S: Final = 2.0
_SUBMIT_TIMEOUT: Final = timedelta(seconds=3)
_BAD_REQUEST: Final = 400
_FORBIDDEN: Final = 403
_TOO_LARGE: Final = 413
_UNAVAILABLE: Final = 503
_STORE_FULL_S: Final = 5.0


class SubmitOptions(TypedDict, total=False):
    """What ``submit`` takes by name, all optional; what is left out is the engine's or the mesh's choice."""

    max_tokens: int | None
    temperature: float | None
    top_p: float | None
    seed: int | None
    stop: tuple[str, ...]
    presence_penalty: float | None
    frequency_penalty: float | None
    tools: Tools | None
    """The functions that the model may call; its calls are in ``AnswerResult.tool_calls``."""
    format: OutputFormat | None
    """What the answer must look like: any JSON object, or JSON under a schema."""
    logit_bias: Mapping[int, float]
    """By token of the model's own vocabulary, what is added to its logit, -100 to 100."""
    top_logprobs: int | None
    """How many likely tokens to name for each place, up to 20; 0: the chosen one's probability alone."""
    raw: bool
    """Whether a prompt that is a text goes to the model as it stands, past its template; say ``max_tokens``."""
    urgency: ServiceClass
    """``interactive`` (the default) for a waiting person, ``standard``, or ``batch`` for what may wait."""
    deadline: timedelta | None
    """How long the task may take, from now; after that it ends as failed."""
    rules: Rules
    """Where it may run and what it may cost; what is not kept to is not placed."""
    task: str | None
    """An id of your own (UUIDv7): a repeat with the same id attaches to the first answer, never asks twice."""


class Client:
    """A connection of one account to a mesh; ``connect`` makes one. Close it, or use it in ``async with``."""

    def __init__(self, options: ClientOptions, link: Link, feed: LiveFeed) -> None:
        """Wrap an open connection; ``connect`` does this."""
        self._options = options
        self._link = link
        self._feed = feed
        self._calls = UserCalls(link, options.account, patience=options.patience)
        self._answers: set[Answer] = set()

    @property
    def account(self) -> str:
        """The account whose tasks this client sends and reads."""
        return self._options.account

    @property
    def is_connected(self) -> bool:
        """Whether the mesh is reachable right now; if it is not, the client keeps trying."""
        return self._link.is_connected

    async def submit(self, model: str, prompt: str | Sequence[Message], **options: Unpack[SubmitOptions]) -> Answer:
        """Send a task and return its answer, which is on its way.

        It returns as soon as the broker has stored the task. A repeat with the same ``task`` id, by this client or
        another, returns the first task's answer.

        Args:
            model: which model shall answer, as ``/v1/models`` lists it.
            prompt: a question, or a conversation.
            options: sampling, urgency, deadline and id; see ``SubmitOptions``.

        Raises:
            TaskRefused: if the task is malformed or too large, this account may not send it, or the mesh has no room
                for it now (code ``store_full``): send it again later, with the same id.
            InvalidTaskId: if ``task`` is not a UUIDv7.
            PublishUnknown: if nobody acknowledged it for as long as the client is patient; repeat with the same id.
        """
        return await self._send(_submission(model, prompt, options), _urgency(options), options.get("task"))

    async def embed(
        self, texts: str | Sequence[str], *, model: str = SMALL_EMBEDDING_MODEL, **options: Unpack[EmbedOptions]
    ) -> Embeddings:
        """Turn texts into vectors, and wait for them.

        Args:
            texts: one, or up to 2048 of them, none of them empty; what one message holds at most.
            model: an embedding model, as ``/v1/models`` lists it (kind ``embedding``).
            options: dimensions, urgency, deadline and id; see ``EmbedOptions``.

        Raises:
            TaskFailedError: if no vectors came: the model writes answers, or a text is too long for it.
            TaskCancelledError: if it was cancelled.
            TaskRefused: as for ``submit``.
            InvalidTaskId: as for ``submit``.
            PublishUnknown: as for ``submit``.
            BusUnavailable: if the mesh stays away for longer than the client's patience.
        """
        asked = _embedding(model, texts, options)
        answer = await self._send(asked, _urgency(options), options.get("task"))
        try:
            return embeddings_of(await answer.result())
        finally:
            await answer.close()

    async def _send(self, submitted: TaskSubmitted, urgency: ServiceClass, chosen: str | None) -> Answer:
        key = TaskKey(self._options.account, new_task_id() if chosen is None else parse_task_id(chosen))
        # Opened first: what happens between the acknowledgement and our next breath is in it.
        watch = self._feed.watch(key)
        try:
            is_new = await self._publish(subjects.submitted(urgency, key), encode(submitted))
        except BaseException:
            watch.close()
            raise
        if not is_new:
            watch.close()
        source = UserSource(self._feed, self._calls, submitted_here=True)
        return self._attach(Answer(source, self._calls, key, watch=watch if is_new else None))

    async def resume(self, task: str, *, after: int = 0) -> Answer:
        """Read a task that was submitted before, by whomever of this account; it may have ended long ago.

        Args:
            task: its id.
            after: the counter ``n`` of the last piece that you have; 0 gives everything.

        Raises:
            InvalidTaskId: if ``task`` is not an id.
            TaskRefused: if ``after`` is no counter.
        """
        if after < 0:
            raise TaskRefused(f"after={after} is no counter: give 0 or more", code="invalid_value", status=_BAD_REQUEST)
        key = TaskKey(self._options.account, parse_task_id(task))
        return self._attach(Answer(UserSource(self._feed, self._calls), self._calls, key, after=after))

    async def cancel(self, task: str, *, reason: str = "cancelled by the client") -> CancelOutcome:
        """Tell the mesh that an answer is no longer wanted; returns how the task ended.

        Raises:
            InvalidTaskId: if ``task`` is not an id.
            TaskRefused: if the mesh says no.
            BusUnavailable: if nobody answers.
        """
        return await self._calls.cancel(parse_task_id(task), reason)

    def watch(self) -> AccountWatch:
        """Follow all tasks of the account from now on: ``async for step in client.watch()``."""
        return AccountWatch(self._feed, UserSource(self._feed, self._calls, submitted_here=True))

    async def close(self) -> None:
        """Stop reading and disconnect. Tasks that run go on; another client can resume them."""
        await asyncio.gather(*(answer.close() for answer in tuple(self._answers)))
        await self._feed.stop()
        await self._link.close()

    async def __aenter__(self) -> Self:
        """Use as a context manager."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        await self.close()

    def _attach(self, answer: Answer) -> Answer:
        self._answers.add(answer)
        answer.when_read(lambda: self._answers.discard(answer))
        return answer

    async def _publish(self, subject: str, data: bytes) -> bool:
        """Store a submission; False means that its id was there before. In doubt, publish again: one is kept."""
        if len(data) > self._link.max_payload:
            limit = f"a task may have {self._link.max_payload} bytes"
            raise TaskRefused(f"{limit}, this one has {len(data)}", code="request_too_large", status=_TOO_LARGE)
        begun, refused_at_s = time.monotonic(), None
        while True:
            waited = timedelta(seconds=time.monotonic() - begun)
            try:
                await self._link.append(subject, data, timeout=_SUBMIT_TIMEOUT)
            except SubjectTaken:
                return False
            except PublishUnknown as doubt:
                await self._explain(doubt, subject)
                if waited > self._options.patience:
                    raise
            except PublishRefused:
                # A broker that has just started may not have its streams yet, however long it was away before.
                refused_at_s = refused_at_s or time.monotonic()
                if time.monotonic() - refused_at_s > _REFUSED_PATIENCE_S:
                    raise
                await asyncio.sleep(_REFUSAL_PAUSE_S)
            else:
                return True

    async def _explain(self, doubt: PublishUnknown, subject: str) -> None:
        """Look for what the broker would say if it could.

        Raises:
            TaskRefused: if asking again is of no use now.
        """
        _check_rights(self._link, subject)
        if isinstance(doubt, StoreFull):
            raise _store_full(str(doubt)) from doubt
        # Where the disk is full no broker answers a publish, but its keeper says so.
        if (shortage := await self._calls.shortage()) is not None:
            raise _store_full(shortage) from doubt


async def connect(servers: str | None = None, **options: Unpack[ConnectOptions]) -> Client:
    """Connect to a mesh as one of its users. What is not given comes from ``IG3_*`` variables or ``ig3.toml``.

    Args:
        servers: where NATS is, ``nats://HOST:PORT`` or several separated by commas.
        options: ``account``, ``api_key``, ``seed_file``, ``data_dir`` and ``patience``; see ``ConnectOptions``.

    Raises:
        SettingsError: if one of these cannot be used.
        CredentialsError: if the seed file is missing or open to others, or its user may not read this account.
        BusUnavailable: if no server answers or the credentials are refused.
    """
    return await open_client(client_options(servers, **options))


async def open_client(options: ClientOptions) -> Client:
    """Connect.

    Raises:
        BusUnavailable: if no server answers or the credentials are refused.
        CredentialsError: if they are good, but not for this account.
    """
    link = await Link.connect(
        LinkOptions(
            servers=options.servers,
            tls=options.tls,
            name=f"client:{options.account}:{uuid.uuid4().hex[:8]}",
            inbox_prefix=subjects.user_inbox_prefix(options.account),
            seed_file=options.seed_file,
            login=options.login,
        )
    )
    try:
        feed = LiveFeed(link, subjects.live_of_account(options.account))
        await feed.start()
        await _check_reading(link, options)
    except BaseException:
        await link.close()
        raise
    return Client(options, link, feed)


def _submission(model: str, prompt: str | Sequence[Message], options: SubmitOptions) -> TaskSubmitted:
    raw = prompt if isinstance(prompt, str) and options.get("raw", False) else ""
    messages = (Message(role="user", content=prompt),) if isinstance(prompt, str) else tuple(prompt)
    submitted = TaskSubmitted(
        model=model,
        messages=() if raw else messages,
        prompt=raw,
        sampling=_sampling(options),
        deadline_at_ms=_deadline_at_ms(options.get("deadline")),
        rules=options.get("rules"),
        tools=options.get("tools"),
        format=options.get("format"),
    )
    return _checked(submitted)


def _embedding(model: str, texts: str | Sequence[str], options: EmbedOptions) -> TaskSubmitted:
    given = (texts,) if isinstance(texts, str) else tuple(texts)
    if not given:
        raise TaskRefused("there are no texts to turn into vectors", code="invalid_request", status=_BAD_REQUEST)
    return _checked(
        TaskSubmitted(
            model=model,
            texts=given,
            dimensions=options.get("dimensions"),
            deadline_at_ms=_deadline_at_ms(options.get("deadline")),
            rules=options.get("rules"),
        )
    )


def _checked(submitted: TaskSubmitted) -> TaskSubmitted:
    try:
        # Structs check when they decode, not when they are made.
        return decode(encode(submitted), TaskSubmitted)
    except UndecodableEvent as error:
        raise TaskRefused(str(error), code="invalid_request", status=_BAD_REQUEST) from error


def _sampling(options: SubmitOptions) -> Sampling:
    return Sampling(
        max_tokens=options.get("max_tokens"),
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        seed=options.get("seed"),
        stop=tuple(options.get("stop", ())),
        presence_penalty=options.get("presence_penalty"),
        frequency_penalty=options.get("frequency_penalty"),
        logit_bias=tuple(TokenBias(token=token, bias=bias) for token, bias in options.get("logit_bias", {}).items()),
        top_logprobs=options.get("top_logprobs"),
    )


def _deadline_at_ms(deadline: timedelta | None) -> int | None:
    return None if deadline is None else now_ms() + round(deadline / timedelta(milliseconds=1))


def _urgency(options: SubmitOptions | EmbedOptions) -> ServiceClass:
    urgency = options.get("urgency", "interactive")
    if urgency not in SERVICE_CLASSES:
        known = ", ".join(SERVICE_CLASSES)
        raise TaskRefused(f"urgency {urgency!r} is none of {known}", code="invalid_request", status=_BAD_REQUEST)
    return urgency


async def _check_reading(link: Link, options: ClientOptions) -> None:
    # A refused subscription is told on the side; the answer to a ping comes after it.
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    try:
        await link.client.flush()
    except NatsError as error:
        raise BusUnavailable(f"the connection to {', '.join(options.servers)} was lost at once: {error}") from error
    if _is_denied(link, f"live.*.{options.account}"):
        who = "this key or session" if options.seed_file is None else f"the user of {options.seed_file}"
        raise CredentialsError(f"{who} may not read account {options.account!r}")


def _store_full(reason: str) -> TaskRefused:
    return TaskRefused(
        f"the mesh takes no new tasks now: {reason}",
        code="store_full",
        status=_UNAVAILABLE,
        retry_after_s=_STORE_FULL_S,
    )


def _check_rights(link: Link, subject: str) -> None:
    # A denied publish is told on the side too; what one sees is that no acknowledgement comes.
    if _is_denied(link, subject):
        raise TaskRefused(f"this user may not publish {subject}", code="forbidden", status=_FORBIDDEN)


def _is_denied(link: Link, subject: str) -> bool:
    error = str(link.client.last_error or "").lower()
    return "permissions violation" in error and subject.lower() in error
