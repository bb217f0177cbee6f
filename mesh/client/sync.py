"""The client without ``async``: the same names and the same guarantees, as plain calls and plain iterators.

    with mesh.connect_sync() as client:
        for piece in client.submit("smollm2-135m-instruct", "Why is the sky blue?"):
            print(piece.text, end="", flush=True)

One background thread runs the connection. Calls may come from any thread; an interrupt (Ctrl-C) ends the call that
waits, never the connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Self, TypeVar, Unpack

from mesh.client.client import open_client
from mesh.client.embedding import SMALL_EMBEDDING_MODEL
from mesh.client.loop_thread import LoopThread
from mesh.client.options import client_options

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from mesh.bus.answer import Step
    from mesh.client.account_watch import AccountStep, AccountWatch
    from mesh.client.answer import Answer, AnswerResult, Piece
    from mesh.client.client import Client, SubmitOptions
    from mesh.client.embedding import Embeddings, EmbedOptions
    from mesh.client.options import ClientOptions, ConnectOptions
    from streams.messages import CancelOutcome
    from streams.tasks.chat import Message
    from streams.tasks.task import TaskState

T = TypeVar("T")


class SyncClient:
    """A connection of one account to a mesh; ``connect_sync`` makes one. Close it, or use it in ``with``."""

    def __init__(self, options: ClientOptions) -> None:
        """Connect.

        Raises:
            BusUnavailable: if no server answers or the credentials are refused.
            CredentialsError: if they are good, but not for this account.
        """
        self._worker = LoopThread()
        try:
            self._client: Client = self._worker.wait(open_client(options))
        except BaseException:
            self._worker.stop()
            raise

    @property
    def account(self) -> str:
        """The account whose tasks this client sends and reads."""
        return self._client.account

    @property
    def is_connected(self) -> bool:
        """Whether the mesh is reachable right now; if it is not, the client keeps trying."""
        return self._client.is_connected

    def submit(self, model: str, prompt: str | Sequence[Message], **options: Unpack[SubmitOptions]) -> SyncAnswer:
        """Send a task and return its answer, which is on its way; see ``Client.submit``."""
        return SyncAnswer(self._worker, self._worker.wait(self._client.submit(model, prompt, **options)))

    def embed(
        self, texts: str | Sequence[str], *, model: str = SMALL_EMBEDDING_MODEL, **options: Unpack[EmbedOptions]
    ) -> Embeddings:
        """Turn texts into vectors, and wait for them; see ``Client.embed``."""
        return self._worker.wait(self._client.embed(texts, model=model, **options))

    def resume(self, task: str, *, after: int = 0) -> SyncAnswer:
        """Read a task that was submitted before; see ``Client.resume``."""
        return SyncAnswer(self._worker, self._worker.wait(self._client.resume(task, after=after)))

    def cancel(self, task: str, *, reason: str = "cancelled by the client") -> CancelOutcome:
        """Tell the mesh that an answer is no longer wanted; see ``Client.cancel``."""
        return self._worker.wait(self._client.cancel(task, reason=reason))

    def watch(self) -> SyncWatch:
        """Follow all tasks of the account from now on: ``for step in client.watch()``."""
        return SyncWatch(self._worker, self._worker.call(self._client.watch))

    def close(self) -> None:
        """Disconnect and end the thread; calls that wait elsewhere get ``BusUnavailable``. Twice is fine."""
        if self._worker.is_running:
            self._worker.wait(self._client.close())
            self._worker.stop()

    def __enter__(self) -> Self:
        """Use as a context manager."""
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self.close()


class SyncAnswer:
    """One task's answer. Iterate it for text."""

    def __init__(self, worker: LoopThread, answer: Answer) -> None:
        """Made by ``SyncClient``."""
        self._worker = worker
        self._answer = answer

    @property
    def task(self) -> str:
        """The task's id."""
        return self._answer.task

    @property
    def state(self) -> TaskState:
        """What the task has become so far."""
        return self._answer.state

    def __iter__(self) -> Iterator[Piece]:
        """Yield the text as it arrives; raises as ``Answer`` does."""
        return _Steps(self._worker, self._answer.__aiter__())

    def events(self) -> Iterator[Step]:
        """Yield every valid event of the task; see ``Answer.events``."""
        return _Steps(self._worker, self._answer.events())

    def result(self, *, check: bool = True) -> AnswerResult:
        """Wait for the end and return the whole answer; see ``Answer.result``."""
        return self._worker.wait(self._answer.result(check=check))

    def cancel(self, reason: str = "cancelled by the client") -> CancelOutcome:
        """Tell the mesh that the answer is no longer wanted; returns how the task ended."""
        return self._worker.wait(self._answer.cancel(reason))

    def close(self) -> None:
        """Stop reading; the task itself goes on and can be resumed."""
        self._worker.wait(self._answer.close())

    def __enter__(self) -> Self:
        """Read inside a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop reading."""
        self.close()


class SyncWatch:
    """Iterate it for events of all tasks of the account."""

    def __init__(self, worker: LoopThread, watch: AccountWatch) -> None:
        """Made by ``SyncClient``."""
        self._worker = worker
        self._watch = watch

    def __iter__(self) -> Iterator[AccountStep]:
        """Iterate."""
        return _Steps(self._worker, self._watch)

    def close(self) -> None:
        """Stop listening; an iteration that waits, in another thread, ends."""
        if self._worker.is_running:
            self._worker.call(self._watch.close)

    def __enter__(self) -> Self:
        """Listen inside a ``with`` block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self.close()


class _Steps(Generic[T]):
    """A plain iterator over what arrives in the other thread."""

    def __init__(self, worker: LoopThread, source: AsyncIterator[T]) -> None:
        self._worker = worker
        self._source = source

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        try:
            return self._worker.wait(_next(self._source))
        except StopAsyncIteration:
            raise StopIteration from None


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)


def connect_sync(servers: str | None = None, **options: Unpack[ConnectOptions]) -> SyncClient:
    """Connect to a mesh as one of its users, without ``async``; takes what ``mesh.connect`` takes and raises the same.

    Raises:
        SettingsError: if one of these cannot be used.
        CredentialsError: if the seed file is missing or open to others, or its user may not read this account.
        BusUnavailable: if no server answers or the credentials are refused.
    """
    return SyncClient(client_options(servers, **options))
