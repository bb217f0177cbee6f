"""Settings of paying out."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct


class PayoutSettings(Struct, frozen=True, kw_only=True):
    """How what nodes have earned leaves the books. What a driver needs is asked for only where it is used."""

    payout_file: Annotated[Path | None, Meta(description="The file to which the driver `file` appends payouts.")] = None
    payout_webhook: Annotated[
        str | None, Meta(description="Where the driver `webhook` tells payouts: an https:// address.")
    ] = None
    payout_webhook_secret_file: Annotated[
        Path | None, Meta(description="The file with the secret that signs what the webhook is told, mode 0600.")
    ] = None
    payout_rpc_url: Annotated[
        str | None,
        Meta(description="The Ethereum node that the driver `erc20` asks.", extra={"secret": True}),
    ] = None
    payout_chain_id: Annotated[int, Meta(ge=1, description="The chain that tokens are paid on (EIP-155).")] = 3338
    payout_token: Annotated[str | None, Meta(description="The contract of the token that is paid.")] = None
    payout_key_file: Annotated[
        Path | None, Meta(description="The file with the key of the account that pays, 64 hex digits, mode 0600.")
    ] = None
    payout_confirmations: Annotated[
        int, Meta(ge=1, le=10_000, description="Blocks on top of a transfer before it counts as paid.")
    ] = 12
    payout_most_gwei: Annotated[int, Meta(ge=1, description="Above this price of gas transfers wait.")] = 500
    payout_replace_after: Annotated[
        timedelta | None,
        Meta(description="A transfer in no block for so long is sent again, dearer, with the same nonce; off: never."),
    ] = timedelta(minutes=10)
    payout_replacements: Annotated[
        int, Meta(ge=0, le=20, description="How often one transfer is sent again with dearer gas.")
    ] = 5
    payout_every: Annotated[timedelta, Meta(description="How often payouts that are not over are looked after.")] = (
        timedelta(seconds=15)
    )
