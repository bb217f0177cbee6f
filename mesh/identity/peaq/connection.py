"""One connection to one endpoint of the chain, by substrate-interface: checked, and read from finalised state only.

It blocks, and belongs to one thread; only ``abort`` may be called from others.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import socket
import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import urlsplit

from msgspec import Struct

from mesh.config.quantities import format_duration
from mesh.errors import ChainUnavailable, IdentityError
from mesh.identity.peaq.place import blake2_256

if TYPE_CHECKING:
    from collections.abc import Generator

    from mesh.identity.peaq.options import ChainOptions
    from mesh.identity.peaq.place import Place

SHORTEST_BLOCK_S: Final = 6.0
"""Blocks follow each other no faster: what is valid for some blocks more is valid for at least so long."""

_HEAD_REUSE_S: Final = 2.0
_TYPES_S: Final = 60.0
_PALLET: Final = "PeaqDid"
_STORE: Final = "AttributeStore"
_SHOWN: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]+")


class Entry(Struct, frozen=True, kw_only=True):
    """What stands on the chain under a name of an account. Whoever signs may write it: it proves nothing by itself."""

    name: str
    value: bytes
    validity: int
    """The last block in which it holds. The chain does not enforce it."""


class Reading(Struct, frozen=True, kw_only=True):
    """What a finalised block says about a place."""

    entry: Entry | None
    """None: nothing stands there."""
    block: int
    block_at_s: float
    """The block's own time, seconds since 1970."""

    @property
    def is_expired(self) -> bool:
        """Whether the entry no longer held in that block."""
        return self.entry is not None and self.entry.validity < self.block

    @property
    def holds_until_s(self) -> float:
        """Until when the entry holds at least, seconds since 1970; without an entry: forever."""
        if self.entry is None:
            return float("inf")
        return self.block_at_s + (self.entry.validity + 1 - self.block) * SHORTEST_BLOCK_S


class Head(NamedTuple):
    """The last finalised block."""

    block: str
    number: int
    at_s: float


class Connection:
    """A connection to one endpoint at a time. What was learned of the chain's types is kept from one to the next.

    Decoding the metadata of a chain takes a second and makes ten thousand classes, so it is done once.
    """

    def __init__(self, options: ChainOptions) -> None:
        """Connect to nothing yet."""
        self.node: Any = None
        """The library's ``SubstrateInterface``, which carries no types; None before the first connection."""
        self.is_open = False
        self._is_settled = False
        self._options = options
        self._head: Head | None = None
        self._head_read_s = float("-inf")

    def read(self, place: Place) -> Reading:
        """Read what stands at a place in the last finalised block.

        Raises:
            ChainUnavailable: if the endpoint does not answer in time or not as a node does, or is too far behind.
        """
        # Making sense of the chain's types is our own work, slow on a small machine, and no fault of the endpoint.
        allowed_s = self._options.timeout_s + (0 if self._is_settled else _TYPES_S)
        with translated(), self.deadline(allowed_s):
            head = self.head()
            entry = self.entry_at(place, head.block)
            return Reading(entry=entry, block=head.number, block_at_s=head.at_s)

    def entry_at(self, place: Place, block: str) -> Entry | None:
        """Return what stands at the first name of a place that has something, in a given block."""
        found = (self._entry(place.account, name, block) for name in place.names)
        return next((one for one in found if one is not None), None)

    def head(self) -> Head:
        """Return the last finalised block, as of two seconds ago at most."""
        now_s = time.monotonic()
        if self._head is None or now_s - self._head_read_s > _HEAD_REUSE_S:
            block = str(self.node.get_chain_finalised_head())
            at_ms = int(self._query("Timestamp", "Now", [], block).value)
            self._head = Head(block, self.node.get_block_number(block), at_ms / 1000)
            self._head_read_s = now_s
        self._refuse_stale(self._head)
        return self._head

    def open(self, endpoint: str) -> None:
        """Connect to an endpoint, and refuse it if it is of another chain.

        Raises:
            ChainUnavailable: if it cannot be reached or is of another chain, or substrate-interface is not installed.
        """
        self.close()
        self._head = None
        library = _library()
        with translated():
            if not self._is_settled:
                self.node = _dial(library, endpoint, self._options)
            else:
                self.node.transport.url = endpoint
                self.node.config["rpc_methods"] = None
                self.node.connect_websocket()
            self.is_open = True
            with self.deadline(self._options.timeout_s):
                self._check_chain()

    def _check_chain(self) -> None:
        genesis = self.node.get_block_hash(0)
        if genesis != self._options.genesis:
            raise ChainUnavailable(
                f"it serves another chain: its first block is {_plain(genesis)}, not {self._options.genesis}"
            )

    @contextlib.contextmanager
    def deadline(self, timeout_s: float) -> Generator[None]:
        """Cut the connection if what is done within takes too long, however busily the endpoint talks meanwhile."""
        alarm = threading.Timer(timeout_s, self.abort)
        alarm.daemon = True
        alarm.start()
        try:
            yield
        finally:
            alarm.cancel()

    def be_patient(self, timeout_s: float) -> None:
        """Let the endpoint be silent for longer than it may take to answer."""
        self.node.websocket.settimeout(timeout_s)

    def abort(self) -> None:
        """Cut the connection: whoever waits on it gets an error at once."""
        with contextlib.suppress(OSError, AttributeError):
            self.node.websocket.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection, whatever state it is in."""
        if self.is_open:
            self.is_open = False
            with contextlib.suppress(OSError):
                # No farewell: it would wait for an answer.
                self.node.websocket.shutdown()

    def _query(self, pallet: str, item: str, params: list[str], block: str) -> Any:
        # The library notes a runtime's version before it has its types: if that fails between, it must begin anew.
        version = self.node.runtime_version
        try:
            found = self.node.query(pallet, item, params, block)
        except Exception:
            self._is_settled = self._is_settled and version == self.node.runtime_version
            raise
        self._is_settled = True
        return found

    def _refuse_stale(self, head: Head) -> None:
        age_s, most_s = time.time() - head.at_s, self._options.max_head_age_s
        if abs(age_s) > most_s:
            shown = format_duration(timedelta(seconds=round(abs(age_s))))
            where = "behind" if age_s > 0 else "ahead of"
            raise ChainUnavailable(
                f"its last finalised block {head.number} is {shown} {where} our clock, more than "
                f"{format_duration(timedelta(seconds=most_s))}"
            )

    def _entry(self, account: bytes, name: str, block: str) -> Entry | None:
        key = "0x" + blake2_256(account + name.encode()).hex()
        found = self._query(_PALLET, _STORE, [key], block)
        # A missing entry decodes to an empty one: only this tells them apart.
        if not found.meta_info["result_found"]:
            return None
        # The library's own value is a text where the bytes happen to be UTF-8; beneath it they are as they were.
        value = bytes(found.value_object["value"].value_object)
        return Entry(name=name, value=value, validity=int(found.value["validity"]))


def shown_endpoint(endpoint: str) -> str:
    """Return scheme, host and port alone: providers put keys into paths and users."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


@contextlib.contextmanager
def translated() -> Generator[None]:
    """Turn whatever the library raises into ``ChainUnavailable``."""
    try:
        yield
    except IdentityError:
        raise
    except Exception as error:
        # An answer that is not a node's surfaces as anything: KeyError, ValueError, errors of three libraries.
        is_answer = type(error).__name__ == "SubstrateRequestException"
        told = "it says" if is_answer else "it does not answer as a node does"
        raise ChainUnavailable(f"{told}: {_plain(error)}") from error


def _plain(said: object) -> str:
    text = _CONTROL.sub(" ", str(said)) or type(said).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _dial(library: Any, endpoint: str, options: ChainOptions) -> Any:
    return library.SubstrateInterface(
        url=endpoint,
        ss58_format=42,
        # Neither guesses by the chain's name nor downloads: all types come with the chain's own metadata.
        auto_discover=False,
        use_remote_preset=False,
        ws_options={"timeout": options.timeout_s},
        config={"auto_reconnect": False},
    )


def _library() -> Any:
    try:
        return importlib.import_module("substrateinterface")
    except ImportError as error:
        raise ChainUnavailable(
            "reading the chain needs substrate-interface: install the extra `chain` (make extras EXTRAS=chain)"
        ) from error
