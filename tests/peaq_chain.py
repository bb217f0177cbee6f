"""A stand-in for a node of peaq: JSON-RPC over a websocket on loopback, with storage and extrinsics in real SCALE.

It keeps the pallet's rules that matter here: anybody may add an attribute for any account, only who added it may
update it, and nobody checks `validity`. What is written and read is encoded by hand, not by the library under test.
"""

import asyncio
import hashlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import coincurve
import sr25519
import xxhash
from aiohttp import web
from nacl.signing import VerifyKey

from tests.peaq_metadata import ERRORS, PEAQ_DID, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable

NO_LIMIT = 2**32 - 1
BLOCK_S = 6


def blake2(data: bytes, size: int = 32) -> bytes:
    return hashlib.blake2b(data, digest_size=size).digest()


def twox128(text: str) -> bytes:
    return b"".join(xxhash.xxh64(text.encode(), seed=seed).intdigest().to_bytes(8, "little") for seed in (0, 1))


def attribute_key(account: bytes, name: bytes) -> str:
    key = blake2(account + name)
    return "0x" + (twox128("PeaqDid") + twox128("AttributeStore") + blake2(key, 16) + key).hex()


def compact(number: int) -> bytes:
    if number < 1 << 6:
        return bytes([number << 2])
    if number < 1 << 14:
        return (number << 2 | 1).to_bytes(2, "little")
    return (number << 2 | 2).to_bytes(4, "little")


def scale_bytes(content: bytes) -> bytes:
    return compact(len(content)) + content


class Rejected(Exception):
    """An error that a node answers with."""


class Extrinsic(NamedTuple):
    """One of the pallet's calls, as it was signed."""

    signer: bytes
    scheme: int
    signature: bytes
    call: bytes
    extra: bytes
    era: bytes


class PeaqChain:
    """A chain whose blocks are made when somebody writes. Use it in a ``with`` statement, or ``start`` and ``stop``."""

    def __init__(self, runtime: Runtime, *, name: str = "ours", head: int = 1000) -> None:
        self.runtime, self.name, self.head, self.best = runtime, name, head, head
        self.states: dict[int, dict[str, str]] = {0: {}}
        self.bodies: dict[int, list[str]] = {}
        self.owners: dict[str, bytes] = {}
        self.nonces: dict[bytes, int] = {}
        self.calls: list[str] = []
        """Every method that was called, in order."""
        self.silent = False
        """Take requests, and never answer."""
        self.chatters = False
        """Say something else instead, again and again."""
        self.cuts = ""
        """Cut the connection when this method is called."""
        self.faulty: Callable[[str, Any], Any] = lambda method, result: result
        """Changes what is answered."""
        self.port = 0
        self.at_s = 0.0
        """The time of the finalised block."""
        self._loop = asyncio.new_event_loop()
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread()
        self.set_time(time.time())

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def genesis(self) -> str:
        return self.hash_of(0)

    def set_time(self, at_s: float) -> None:
        """Give the finalised block another time."""
        self.at_s = at_s
        self._state(self.head)["0x" + (twox128("Timestamp") + twox128("Now")).hex()] = (
            "0x" + int(at_s * 1000).to_bytes(8, "little").hex()
        )

    def put(
        self,
        account: bytes,
        name: str,
        value: bytes,
        *,
        validity: int = NO_LIMIT,
        owner: bytes = b"",
        finalised: bool = True,
    ) -> None:
        """Write an attribute, as anybody may, in the finalised block or only in one that is not final yet."""
        key = attribute_key(account, name.encode())
        self._write(self.head if finalised else self.head + 1, key, name.encode(), value, validity)
        self.best = self.head if finalised else self.head + 1
        self.owners[key] = owner or account

    def attribute(self, account: bytes, name: str) -> tuple[bytes, int]:
        """Value and validity in the finalised block."""
        stored = bytes.fromhex(self._state(self.head)[attribute_key(account, name.encode())][2:])
        _, at = read_bytes(stored, 0)
        value, at = read_bytes(stored, at)
        return value, int.from_bytes(stored[at : at + 4], "little")

    def upgrade(self) -> None:
        """Give the chain the next version of its runtime, and a block that runs on it."""
        version = self.runtime.version | {"specVersion": self.runtime.version["specVersion"] + 1}
        self.runtime = self.runtime._replace(version=version)
        self.head = self.best = self.head + 1
        self.set_time(time.time())

    def hash_of(self, number: int) -> str:
        return "0x" + blake2(f"{self.name} {number}".encode()).hex()

    def start(self) -> None:
        started = threading.Event()
        self._thread = threading.Thread(target=self._serve, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(10)

    def stop(self) -> None:
        """Close every connection, and take no more; ``start`` listens on the same port again."""
        assert self._runner is not None
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._loop.is_closed() and self._thread.is_alive():
            self.stop()
        self._loop.close()

    def _state(self, number: int) -> dict[str, str]:
        if number not in self.states:
            self.states[number] = dict(self.states[max(known for known in self.states if known < number)])
        return self.states[number]

    def _write(self, number: int, key: str, name: bytes, value: bytes, validity: int) -> None:
        numbers = validity.to_bytes(4, "little") + int(time.time() * 1000).to_bytes(8, "little")
        self._state(number)[key] = "0x" + (scale_bytes(name) + scale_bytes(value) + numbers).hex()

    def _serve(self, started: threading.Event) -> None:
        async def listen() -> None:
            app = web.Application()
            app.router.add_get("/", self._websocket)
            self._runner = web.AppRunner(app, shutdown_timeout=0.1)
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
            self.port = self._runner.addresses[0][1]
            started.set()

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(listen())
        self._loop.run_forever()

    async def _websocket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            asked = json.loads(message.data)
            method, params = asked["method"], asked["params"] or []
            self.calls.append(method)
            if method == self.cuts:
                break
            if self.silent:
                continue
            while self.chatters:
                await socket.send_json({"jsonrpc": "2.0", "method": "news", "params": {"subscription": "other"}})
                await asyncio.sleep(0.05)
            await self._reply(socket, asked["id"], method, params)
        return socket

    async def _reply(self, socket: web.WebSocketResponse, number: int, method: str, params: list[Any]) -> None:
        try:
            result = self.faulty(method, self._answer(method, params))
        except Rejected as error:
            fault = {"code": 1010, "message": "Invalid Transaction", "data": str(error)}
            await socket.send_json({"jsonrpc": "2.0", "id": number, "error": fault})
            return
        await socket.send_json({"jsonrpc": "2.0", "id": number, "result": result})
        if method == "author_submitAndWatchExtrinsic":
            for state in ("ready", {"inBlock": self.hash_of(self.head)}, {"finalized": self.hash_of(self.head)}):
                update = {"subscription": "watched", "result": state}
                await socket.send_json({"jsonrpc": "2.0", "method": "author_extrinsicUpdate", "params": update})

    def _answer(self, method: str, params: list[Any]) -> Any:
        answers: dict[str, Callable[..., Any]] = {
            "rpc_methods": lambda: {"methods": [*answers]},
            "chain_getBlockHash": lambda number=None: self.hash_of(self.best if number is None else number),
            "chain_getHead": lambda: self.hash_of(self.best),
            "chain_getFinalizedHead": lambda: self.hash_of(self.head),
            "chain_getHeader": self._header,
            "chain_getBlock": lambda at: {
                "block": {"header": self._header(at), "extrinsics": self.bodies.get(self._number(at), [])}
            },
            "state_getMetadata": lambda at=None: self.runtime.metadata,
            "state_getRuntimeVersion": lambda at=None: self.runtime.version,
            "state_getStorage": lambda key, at: self._at(at).get(key),
            "state_getKeysPaged": lambda prefix, count, start, at: sorted(
                key for key in self._at(at) if key.startswith(prefix) and key > start
            )[:count],
            "system_chain": lambda: self.runtime.chain,
            "system_properties": lambda: self.runtime.properties,
            "system_accountNextIndex": lambda address: self.nonces.get(address, 0),
            "author_submitAndWatchExtrinsic": self._submit,
            "author_unwatchExtrinsic": lambda subscription: True,
        }
        return answers[method](*params)

    def _number(self, block: str | None) -> int:
        return next((n for n in range(self.best, -1, -1) if self.hash_of(n) == block), self.best)

    def _at(self, block: str | None) -> dict[str, str]:
        number = self._number(block)
        return self.states[max(known for known in self.states if known <= number)]

    def _header(self, block: str | None = None) -> dict[str, Any]:
        number = self._number(block)
        parent = self.hash_of(number - 1) if number else "0x" + "00" * 32
        return {"number": hex(number), "parentHash": parent, "digest": {"logs": []}, "stateRoot": "0x" + "00" * 32}

    def _submit(self, text: str) -> str:
        one = read_extrinsic(bytes.fromhex(text.removeprefix("0x")))
        birth = int.from_bytes(one.era, "little") >> 4
        period = 2 << (int.from_bytes(one.era, "little") % 16)
        versions = [self.runtime.version[key].to_bytes(4, "little") for key in ("specVersion", "transactionVersion")]
        born = (self.head - birth) // period * period + birth
        signed = one.call + one.extra + b"".join(versions)
        signed += b"".join(bytes.fromhex(self.hash_of(number)[2:]) for number in (0, born))
        if not has_signed(one, signed if len(signed) <= 256 else blake2(signed)):
            raise Rejected("Transaction has a bad signature")
        self.head = self.best = self.head + 1
        self.set_time(time.time())
        self.bodies[self.head] = [text]
        self._record(self._apply(one))
        return "watched"

    def _apply(self, one: Extrinsic) -> str | None:
        """Carry out a call, and return the pallet's error if it refuses."""
        assert one.call[0] == PEAQ_DID
        account, at = one.call[2:34], 34
        name, at = read_bytes(one.call, at)
        value, at = read_bytes(one.call, at)
        lasts = int.from_bytes(one.call[at + 1 : at + 5], "little") if one.call[at] else None
        key = attribute_key(account, name)
        exists = key in self._state(self.head)
        if one.call[1] == 0 and exists:
            return "AttributeAlreadyExist"
        if one.call[1] == 1 and self.owners.get(key) != one.signer:
            return "AttributeAuthorizationFailed"
        self._write(self.head, key, name, value, NO_LIMIT if lasts is None else self.head + lasts)
        self.owners[key] = one.signer
        return None

    def _record(self, error: str | None) -> None:
        """Write the events of a block with one extrinsic: phase, pallet and event, what it tells, no topics."""
        info = bytes(8 + 2)
        told = b"\x00\x00" if error is None else b"\x00\x01\x03" + bytes([PEAQ_DID, ERRORS.index(error), 0, 0, 0])
        events = compact(1) + b"\x00" + bytes(4) + told + info + b"\x00"
        self._state(self.head)["0x" + (twox128("System") + twox128("Events")).hex()] = "0x" + events.hex()


def read_compact(data: bytes, at: int) -> tuple[int, int]:
    size = 1 << (data[at] & 3)
    return int.from_bytes(data[at : at + size], "little") >> 2, at + size


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    length, at = read_compact(data, at)
    return data[at : at + length], at + length


def read_extrinsic(data: bytes) -> Extrinsic:
    body, _ = read_bytes(data, 0)
    assert body[:2] == b"\x84\x00", "version 4, signed, by an account id"
    scheme, at = body[34], 35
    size = 65 if scheme == 2 else 64
    signature, at = body[at : at + size], at + size
    start = at
    at += 1 if body[at] == 0 else 2
    era = body[start:at]
    _, at = read_compact(body, at)
    _, at = read_compact(body, at)
    return Extrinsic(body[2:34], scheme, signature, body[at:], body[start:at], era)


def has_signed(one: Extrinsic, payload: bytes) -> bool:
    match one.scheme:
        case 0:
            VerifyKey(one.signer).verify(payload, one.signature)
            return True
        case 1:
            return bool(sr25519.verify(one.signature, payload, one.signer))  # pyright: ignore[reportAttributeAccessIssue] - no types
        case _:
            key = coincurve.PublicKey.from_signature_and_message(one.signature, blake2(payload), hasher=None)
            return blake2(key.format()) == one.signer
