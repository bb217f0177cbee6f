"""The few questions that paying asks of an Ethereum node, by JSON-RPC over HTTP (the execution API)."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

from gateway.errors import PayoutError
from gateway.payouts.drivers.answers import body_of

_TIMEOUT_S: Final = 20.0
_MOST_ANSWER_BYTES: Final = 1_000_000
_KNOWN: Final = ("already known", "already imported", "known transaction", "alreadyknown")
"""What nodes say of a transaction that they have: that is no error here."""
_TOO_CHEAP: Final = ("underpriced", "less than block base fee", "fee too low", "feetoolow")

T = TypeVar("T")


class FeePerGas(NamedTuple):
    """What gas may cost, in wei."""

    most_wei: int
    tip_wei: int


class Receipt(NamedTuple):
    """What became of a transaction."""

    block: int
    has_succeeded: bool


class _Fault(Struct, frozen=True):
    code: int
    message: str


class _Reply(Struct, frozen=True):
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _Fault | None = None


class _Block(Struct, frozen=True, rename="camel"):
    base_fee_per_gas: str


class _Receipt(Struct, frozen=True, rename="camel"):
    block_number: str
    status: str


class EthereumRpc:
    """Asks one node. Raises ``PayoutError`` where it does not answer, or with nonsense."""

    def __init__(self, url: str) -> None:
        """Ask at ``url``; it may carry a key, so it stands in no message."""
        self._url = url

    async def chain_id(self) -> int:
        """Which chain the node follows (EIP-155)."""
        return _number(await self._ask("eth_chainId", str))

    async def block_number(self) -> int:
        """The newest block."""
        return _number(await self._ask("eth_blockNumber", str))

    async def next_nonce(self, address: str) -> int:
        """The next nonce of an account, behind all that waits to be included."""
        return _number(await self._ask("eth_getTransactionCount", str, address, "pending"))

    async def nonce_at_depth(self, address: str, depth: int) -> int:
        """How many transactions of an account lie so deep that they will not go away again."""
        block = max(0, await self.block_number() - depth + 1)
        return _number(await self._ask("eth_getTransactionCount", str, address, hex(block)))

    async def fee_per_gas(self) -> FeePerGas:
        """What gas may cost now: twice the base fee, which lasts for six full blocks, and the tip."""
        block = await self._ask("eth_getBlockByNumber", _Block, "latest", False)
        tip = _number(await self._ask("eth_maxPriorityFeePerGas", str))
        return FeePerGas(2 * _number(block.base_fee_per_gas) + tip, tip)

    async def estimate_gas(self, *, sender: str, to: str, data: bytes) -> int:
        """What a call would take; a call that would fail is an error."""
        call = {"from": sender, "to": to, "data": "0x" + data.hex()}
        return _number(await self._ask("eth_estimateGas", str, call))

    async def call_number(self, *, to: str, data: bytes) -> int:
        """What a call returns, as a number."""
        return _number(await self._ask("eth_call", str, {"to": to, "data": "0x" + data.hex()}, "latest"))

    async def receipt(self, transaction: str) -> Receipt | None:
        """What became of a transaction; None: it is in no block."""
        found: _Receipt | None = await self._ask("eth_getTransactionReceipt", _Receipt | None, transaction)
        return None if found is None else Receipt(_number(found.block_number), _number(found.status) == 1)

    async def send(self, raw: bytes) -> bool:
        """Hand a signed transaction over, perhaps again; False: it is too cheap by now for the node to keep it."""
        try:
            await self._ask("eth_sendRawTransaction", str, "0x" + raw.hex())
        except PayoutError as error:
            said = str(error).lower()
            if any(words in said for words in _TOO_CHEAP):
                return False
            if not any(words in said for words in _KNOWN):
                raise
        return True

    async def _ask(self, method: str, answer: type[T] | Any, *params: object) -> T:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.post(self._url, json=asked, allow_redirects=False) as response,
            ):
                raw = await body_of(response, _MOST_ANSWER_BYTES)
            reply = msgspec.json.decode(raw, type=_Reply)
            if reply.error is None:
                return msgspec.json.decode(reply.result, type=answer)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise PayoutError(f"the chain's node did not answer {method} ({type(error).__name__})") from error
        except msgspec.MsgspecError as error:
            raise PayoutError(f"what the chain's node answered to {method} cannot be read: {error}") from error
        raise PayoutError(f"the chain's node refused {method}: {reply.error.message[:200]} ({reply.error.code})")


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError as error:
        raise PayoutError(f"the chain's node answered {text[:40]!r} where a number in hex belongs") from error
