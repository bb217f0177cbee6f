"""A driver, from the settings that it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import PayoutError
from gateway.payouts.drivers.erc20 import Erc20Driver, Erc20Terms
from gateway.payouts.drivers.ethereum_rpc import EthereumRpc
from gateway.payouts.drivers.file import FileDriver
from gateway.payouts.drivers.webhook import WebhookDriver
from mesh.secret_file import read_secret

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.payouts.drivers.driver import PayoutDriver
    from gateway.payouts.settings import PayoutSettings
    from streams.payouts.payout import DriverName


def open_driver(name: DriverName, settings: PayoutSettings) -> PayoutDriver:
    """Return the driver of this name.

    Raises:
        PayoutError: if a setting that it needs is missing, or no good.
        CredentialsError: if a file with a secret cannot be read, or others can touch it.
    """
    match name:
        case "file":
            return FileDriver(_path(settings.payout_file, "payout_file"))
        case "webhook":
            secret = read_secret(_path(settings.payout_webhook_secret_file, "payout_webhook_secret_file")).strip()
            return WebhookDriver(_text(settings.payout_webhook, "payout_webhook"), secret)
        case "erc20":
            return _erc20(settings)


def _erc20(settings: PayoutSettings) -> Erc20Driver:
    terms = Erc20Terms(
        chain_id=settings.payout_chain_id,
        token=_text(settings.payout_token, "payout_token"),
        confirmations=settings.payout_confirmations,
        most_fee_gwei=settings.payout_most_gwei,
        replace_after=settings.payout_replace_after,
        most_replacements=settings.payout_replacements,
    )
    rpc = EthereumRpc(_text(settings.payout_rpc_url, "payout_rpc_url"))
    written = read_secret(_path(settings.payout_key_file, "payout_key_file")).strip()
    try:
        key = bytes.fromhex(written.decode("ascii").removeprefix("0x"))
    except ValueError:
        # Whatever it says stays here: it might say the key.
        raise PayoutError("payout_key_file holds no key: it is 64 hex digits") from None
    return Erc20Driver(rpc, terms, key)


def _text(value: str | None, setting: str) -> str:
    if value is None:
        raise PayoutError(f"this way of paying out needs the setting {setting}")
    return value


def _path(value: Path | None, setting: str) -> Path:
    if value is None:
        raise PayoutError(f"this way of paying out needs the setting {setting}")
    return value
