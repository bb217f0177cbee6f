"""Payouts as transfers of an ERC-20 token (EIP-20), by transactions of EIP-1559 that are signed here.

One sending account, one nonce after the other. What is signed is stored on the log before it is sent, so that after a
crash the same transaction is sent again and no second one is signed: a chain takes a nonce once. One that is in no
block for too long is signed again at the same nonce with dearer gas (EIP-1559), and all of them are watched.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final

from msgspec import Struct

from gateway.errors import PayoutError
from gateway.payouts.drivers.driver import Fate, Outcome, Prepared
from gateway.payouts.drivers.ethereum_rpc import FeePerGas
from streams.billing.money import NANO_PER_UNIT

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from gateway.payouts.drivers.ethereum_rpc import EthereumRpc, Receipt
    from streams.payouts.payout import DriverName, Payout

_TRANSFER: Final = bytes.fromhex("a9059cbb")
"""The selector of ``transfer(address,uint256)`` (EIP-20)."""
_DECIMALS: Final = bytes.fromhex("313ce567")
_MOST_DECIMALS: Final = 36
_DEARER: Final = 8
_GAS_SPARE: Final = 5
"""A fifth more gas than was estimated: what a transfer takes depends on storage that others change meanwhile."""


class Erc20Terms(Struct, frozen=True, kw_only=True):
    """What is paid with, and how sure it must be."""

    chain_id: int
    token: str
    """The token's contract."""
    confirmations: int = 12
    """Blocks on top of a transfer before it counts as paid."""
    most_fee_gwei: int = 500
    """Above this price of gas nothing is sent; it waits."""
    replace_after: timedelta | None = timedelta(minutes=10)
    """A transfer that is in no block for so long is sent again with dearer gas; None: never."""
    most_replacements: int = 5


class Erc20Driver:
    """Pays by ``transfer`` of one token from one account."""

    name: ClassVar[DriverName] = "erc20"

    def __init__(self, rpc: EthereumRpc, terms: Erc20Terms, key: bytes) -> None:
        """Sign with ``key`` (32 bytes).

        Raises:
            PayoutError: if the extra is not installed, or the key is none.
        """
        self._rpc = rpc
        self._terms = terms
        self._account = _account(key)
        self._token = checksum(terms.token)
        self._decimals: int | None = None

    @property
    def sender(self) -> str:
        """The address that pays: it must hold the tokens, and the chain's coin for fees."""
        return self._account.address

    def check_address(self, address: str) -> str:
        """Return the address with the checksum of EIP-55; a mixed-case one whose checksum is wrong is refused."""
        found = checksum(address)
        if found in (self._token, "0x" + "0" * 40):
            raise PayoutError(f"{found} is the token itself, or nobody: what is sent there is lost")
        return found

    async def prepare(self, payout: Payout, *, underway: tuple[int, ...]) -> Prepared:
        """Sign the transfer; its nonce is the next that neither the chain nor a prepared payout has.

        Raises:
            PayoutError: if the chain is another, or cannot be asked, or the transfer would fail.
        """
        await self._check_chain()
        data = _transfer(self.check_address(payout.address), await self._units(payout.amount_nano))
        nonce = max([await self._rpc.next_nonce(self.sender), *(taken + 1 for taken in underway)])
        fee = await self._rpc.fee_per_gas()
        self._check_fee(fee)
        gas = await self._rpc.estimate_gas(sender=self.sender, to=self._token, data=data)
        return self._sign(
            {
                "type": 2,
                "chainId": self._terms.chain_id,
                "nonce": nonce,
                "to": bytes.fromhex(self._token[2:]),
                "value": 0,
                "data": data,
                "gas": gas + gas // _GAS_SPARE,
                "maxFeePerGas": fee.most_wei,
                "maxPriorityFeePerGas": fee.tip_wei,
            }
        )

    async def hand_over(self, payout: Payout, prepared: Prepared, *, before: tuple[Prepared, ...] = ()) -> Outcome:
        """Look for the transactions; send the newest where the chain knows none; say how deep the one it took is.

        Raises:
            PayoutError: if the chain cannot be asked.
        """
        found = await self._found((prepared, *before))
        if found is None:
            return await self._send(prepared, before)
        reference, receipt = found
        depth = await self._rpc.block_number() - receipt.block + 1
        if depth < self._terms.confirmations:
            return Outcome(fate=Fate.UNDERWAY, detail=f"{depth} of {self._terms.confirmations} blocks deep")
        if not receipt.has_succeeded:
            return Outcome(fate=Fate.FAILED, detail=f"{reference} was reverted in block {receipt.block}")
        return Outcome(fate=Fate.CONFIRMED, detail=f"{reference} in block {receipt.block}")

    async def replace(self, payout: Payout, handed: tuple[Prepared, ...], *, waited: timedelta) -> Prepared | None:
        """Sign the same transfer at the same nonce with dearer gas, where it is the next that the chain can take.

        Raises:
            PayoutError: if the chain cannot be asked, or gas would cost more than is paid.
        """
        after, newest = self._terms.replace_after, handed[-1]
        if after is None or waited < after or len(handed) > self._terms.most_replacements:
            return None
        if await self._rpc.nonce_at_depth(self.sender, 1) != newest.sequence:
            # It waits for one before it, or has just been taken.
            return None
        await self._check_chain()
        fields = _fields_of(newest.body)
        fee = _dearer(FeePerGas(fields["maxFeePerGas"], fields["maxPriorityFeePerGas"]), await self._rpc.fee_per_gas())
        self._check_fee(fee)
        return self._sign({**fields, "maxFeePerGas": fee.most_wei, "maxPriorityFeePerGas": fee.tip_wei})

    async def _found(self, handed: tuple[Prepared, ...]) -> tuple[str, Receipt] | None:
        """Which of the transactions with one nonce is in a block; None: none is."""
        for each in handed:
            if (receipt := await self._rpc.receipt(each.reference)) is not None:
                return each.reference, receipt
        return None

    async def _send(self, prepared: Prepared, before: tuple[Prepared, ...]) -> Outcome:
        # Whether somebody has used its nonce for something else is asked first, of blocks that cannot go away again.
        taken = await self._rpc.nonce_at_depth(self.sender, self._terms.confirmations)
        if prepared.sequence is not None and taken > prepared.sequence:
            if await self._found((prepared, *before)) is not None:
                return Outcome(fate=Fate.UNDERWAY, detail="it has just been included")
            why = f"nonce {prepared.sequence} was used by another transaction of {self.sender}"
            return Outcome(fate=Fate.FAILED, detail=why)
        is_kept = await self._rpc.send(prepared.body)
        detail = "sent, in no block yet" if is_kept else "its gas is too cheap for the chain's node now"
        return Outcome(fate=Fate.UNDERWAY, detail=detail, is_taken=False)

    def _check_fee(self, fee: FeePerGas) -> None:
        if fee.most_wei > self._terms.most_fee_gwei * 10**9:
            most = self._terms.most_fee_gwei
            raise PayoutError(f"gas costs {fee.most_wei // 10**9} gwei now, and at most {most} is paid: it waits")

    def _sign(self, fields: dict[str, Any]) -> Prepared:
        signed = self._account.sign_transaction(fields)
        return Prepared(
            reference="0x" + signed.hash.hex(), body=bytes(signed.raw_transaction), sequence=fields["nonce"]
        )

    async def _check_chain(self) -> None:
        found = await self._rpc.chain_id()
        if found != self._terms.chain_id:
            raise PayoutError(f"the node speaks for chain {found}, not for {self._terms.chain_id}: nothing is signed")

    async def _units(self, amount_nano: int) -> int:
        """Turn billionths into the token's own units; what those cannot express is refused, not rounded."""
        if self._decimals is None:
            self._decimals = await self._rpc.call_number(to=self._token, data=_DECIMALS)
        if not 0 <= self._decimals <= _MOST_DECIMALS:
            raise PayoutError(f"{self._token} says that it has {self._decimals} decimals: it is no token of EIP-20")
        units, rest = divmod(amount_nano * 10**self._decimals, NANO_PER_UNIT)
        if rest:
            raise PayoutError(f"the token has {self._decimals} decimals: pay out an amount that it can express")
        return units


def checksum(address: str) -> str:
    """Return an address as EIP-55 writes it.

    Raises:
        PayoutError: if it is none, or its mixed case is a checksum that does not hold.
    """
    try:
        from eth_utils.address import is_checksum_address, is_checksum_formatted_address, to_checksum_address
    except ImportError as error:
        raise PayoutError(_MISSING) from error
    text = address.strip()
    digits = text.removeprefix("0x")
    if len(digits) != 40 or len(text) != 42 or any(each not in "0123456789abcdefABCDEF" for each in digits):
        raise PayoutError(f"{address[:80]!r} is no Ethereum address: it is 0x and 40 hex digits")
    if is_checksum_formatted_address(text) and not is_checksum_address(text):
        raise PayoutError(f"{text} has a wrong checksum (EIP-55): a digit is not what it was")
    return str(to_checksum_address(text))


_MISSING: Final = "paying in tokens needs the extra `payouts`: pip install 'ig3-edge-network[payouts]'"


def _account(key: bytes) -> LocalAccount:
    try:
        from eth_account import Account
    except ImportError as error:
        raise PayoutError(_MISSING) from error
    account: Any = Account
    try:
        return account.from_key(key)
    except Exception:
        # Whatever it says stays here: it might say the key.
        raise PayoutError("the key is none: its file holds 64 hex digits, of a secp256k1 key") from None


def _fields_of(raw: bytes) -> dict[str, Any]:
    """Read a transaction that was signed here, without its signature.

    Raises:
        PayoutError: if it is none.
    """
    try:
        from eth_account.typed_transactions.typed_transaction import TypedTransaction
        from hexbytes import HexBytes
    except ImportError as error:
        raise PayoutError(_MISSING) from error
    try:
        fields: dict[str, Any] = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()
    except Exception as error:
        raise PayoutError("what was handed over is no transaction of EIP-1559: look at `ig3 payouts`") from error
    return {name: value for name, value in fields.items() if name not in ("v", "r", "s")}


def _dearer(old: FeePerGas, now: FeePerGas) -> FeePerGas:
    """Return what gas costs now, but an eighth more than before at least: nodes replace for a tenth more of both."""
    tip_wei = max(now.tip_wei, old.tip_wei + old.tip_wei // _DEARER + 1)
    return FeePerGas(max(now.most_wei, old.most_wei + old.most_wei // _DEARER + 1, tip_wei), tip_wei)


def _transfer(to: str, units: int) -> bytes:
    return _TRANSFER + bytes.fromhex(to[2:]).rjust(32, b"\0") + units.to_bytes(32, "big")
