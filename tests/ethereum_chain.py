"""An Ethereum node on loopback, as far as paying in a token asks of one: it checks signatures, nonces and balances."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from eth_account import Account
from eth_account.typed_transactions.typed_transaction import TypedTransaction
from eth_utils.crypto import keccak
from hexbytes import HexBytes

from tests.served_app import served

TOKEN = "0x5FbDB2315678afecb367f032d93F642f64180aa3"
CHAIN_ID = 31337
_Params = list[Any]
_FEES = ("maxFeePerGas", "maxPriorityFeePerGas")


class Fault(Exception):
    """What the node answers as an error."""


@dataclass(kw_only=True)
class EthereumChain:
    """Mines when it is told to. ``balances`` are the token's, in its own units, by lower-case address."""

    balances: dict[str, int] = field(default_factory=dict[str, int])
    decimals: int = 18
    base_fee_wei: int = 10**9
    chain_id: int = CHAIN_ID
    block: int = 100
    pool: dict[str, bytes] = field(default_factory=dict[str, bytes])
    included: dict[str, tuple[int, bool]] = field(default_factory=dict[str, tuple[int, bool]])
    nonces: dict[str, list[int]] = field(default_factory=dict[str, list[int]])
    """By address, in which block each of its transactions lies."""
    replaced: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """What waited, and gave way to a dearer one with its nonce."""
    received: list[str] = field(default_factory=list[str])
    """Hashes of what was handed over, repeats with them."""
    loses_answers: int = 0
    """So many times it takes a transaction and hangs up."""
    url: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["EthereumChain"]:
        app = web.Application()
        app.router.add_post("/", self._answer)
        async with served(app) as self.url:
            yield self

    def mine(self, blocks: int = 1) -> None:
        """Include all that waits and has the next nonce, then add empty blocks."""
        self.block += 1
        for name, raw in list(self.pool.items()):
            self._include(name, raw)
        self.block += blocks - 1

    def _include(self, name: str, raw: bytes) -> None:
        sender, fields = _read(raw)
        if fields["nonce"] != len(self.nonces.setdefault(sender, [])) or fields["maxFeePerGas"] < self.base_fee_wei:
            return
        del self.pool[name]
        self.nonces[sender].append(self.block)
        to, units = _transfer(fields["data"])
        succeeds = self.balances.get(sender, 0) >= units
        if succeeds:
            self.balances[sender] -= units
            self.balances[to] = self.balances.get(to, 0) + units
        self.included[name] = (self.block, succeeds)

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        try:
            result = self._methods()[asked["method"]](asked["params"])
        except Fault as fault:
            return web.json_response(
                {"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32000, "message": str(fault)}}
            )
        if asked["method"] == "eth_sendRawTransaction" and self.loses_answers:
            self.loses_answers -= 1
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": result})

    def _methods(self) -> dict[str, Callable[[_Params], Any]]:
        return {
            "eth_chainId": lambda _: hex(self.chain_id),
            "eth_blockNumber": lambda _: hex(self.block),
            "eth_getTransactionCount": self._count,
            "eth_getBlockByNumber": lambda _: {"baseFeePerGas": hex(self.base_fee_wei), "number": hex(self.block)},
            "eth_maxPriorityFeePerGas": lambda _: hex(10**8),
            "eth_estimateGas": self._estimate,
            "eth_call": lambda _: "0x" + self.decimals.to_bytes(32, "big").hex(),
            "eth_getTransactionReceipt": self._receipt,
            "eth_sendRawTransaction": self._send,
        }

    def _count(self, params: _Params) -> str:
        sender, block = params[0].lower(), params[1]
        blocks = self.nonces.get(sender, [])
        if block == "pending":
            return hex(len(blocks) + sum(_read(raw)[0] == sender for raw in self.pool.values()))
        return hex(sum(at <= int(block, 16) for at in blocks))

    def _estimate(self, params: _Params) -> str:
        _, units = _transfer(HexBytes(params[0]["data"]))
        if self.balances.get(params[0]["from"].lower(), 0) < units:
            raise Fault("execution reverted: ERC20: transfer amount exceeds balance")
        return hex(52_000)

    def _receipt(self, params: _Params) -> dict[str, str] | None:
        found = self.included.get(params[0])
        return None if found is None else {"blockNumber": hex(found[0]), "status": hex(int(found[1]))}

    def _send(self, params: _Params) -> str:
        raw = bytes(HexBytes(params[0]))
        name = "0x" + keccak(raw).hex()
        self.received.append(name)
        sender, fields = _read(raw)
        if name in self.pool:
            raise Fault("already known")
        if fields["chainId"] != self.chain_id or fields["nonce"] < len(self.nonces.get(sender, [])):
            raise Fault("nonce too low")
        if fields["maxFeePerGas"] < self.base_fee_wei:
            raise Fault("max fee per gas less than block base fee")
        for other, known in list(self.pool.items()):
            if _place(known) == _place(raw):
                if any(fields[fee] * 10 < _read(known)[1][fee] * 11 for fee in _FEES):
                    raise Fault("replacement transaction underpriced")
                self.replaced[other] = self.pool.pop(other)
        self.pool[name] = raw
        return name

    def prefer(self, name: str) -> None:
        """Have another block maker, who has not heard of the dearer one, take a transaction that was replaced."""
        raw = self.replaced.pop(name)
        self.pool = {other: known for other, known in self.pool.items() if _place(known) != _place(raw)}
        self.pool[name] = raw


def _place(raw: bytes) -> tuple[str, int]:
    sender, fields = _read(raw)
    return sender, fields["nonce"]


def _read(raw: bytes) -> tuple[str, dict[str, Any]]:
    fields = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    return Account.recover_transaction(raw).lower(), fields


def _transfer(data: bytes) -> tuple[str, int]:
    assert bytes(data[:4]).hex() == "a9059cbb", "only transfers are understood"
    return "0x" + bytes(data[16:36]).hex(), int.from_bytes(data[36:68], "big")
