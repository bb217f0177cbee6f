"""Runtime metadata (V14) of a small chain of our own, with the pallet PeaqDid laid out as on peaq's chains.

Made by code, so that nobody's data is copied. Tests that read it read a chain's own metadata as well, where
``IG3_PEAQ_METADATA`` names a file with it (JSON, gzipped: metadata, runtimeVersion, chain, properties).
"""

import functools
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from scalecodec.base import RuntimeConfigurationObject
from scalecodec.type_registry import load_type_registry_preset

SYSTEM, TIMESTAMP, PEAQ_DID = 0, 2, 100
ERRORS = (
    *("AttributeNameExceedMax64", "AttributeAlreadyExist", "AttributeCreationFailed", "AttributeUpdateFailed"),
    *("AttributeNotFound", "AttributeAuthorizationFailed", "MaxBlockNumberExceeded", "InvalidSuppliedValue"),
)


class Runtime(NamedTuple):
    """What a node tells about its chain."""

    metadata: str
    version: dict[str, Any]
    chain: str
    properties: dict[str, Any]


@functools.cache
def runtimes() -> dict[str, Runtime]:
    """The small chain, and the one that the environment names."""
    found = {"small": small_runtime()}
    if path := os.environ.get("PEAQ_METADATA"):
        told = json.loads(gzip.decompress(Path(path).read_bytes()))
        found[told["chain"]] = Runtime(told["metadata"], told["runtimeVersion"], told["chain"], told["properties"])
    return found


@functools.cache
def small_runtime() -> Runtime:
    codec = RuntimeConfigurationObject(implements_scale_info=True)
    codec.update_type_registry(load_type_registry_preset("core"))
    metadata = codec.create_scale_object("MetadataVersioned").encode(["0x6d657461", {"V14": _Types().metadata()}])
    version = {"specName": "small", "implName": "small", "specVersion": 7, "implVersion": 1, "transactionVersion": 3}
    return Runtime(metadata.to_hex(), version | {"authoringVersion": 1, "apis": []}, "small", {"tokenDecimals": 18})


def _fields(*fields: tuple[str | None, int]) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind, "typeName": "T::Field", "docs": []} for name, kind in fields]


class _Types:
    """The portable registry: every type has the number under which it was added."""

    def __init__(self) -> None:
        self.types: list[dict[str, Any]] = []
        primitives = ("u8", "u16", "u32", "u64", "u128", "bool")
        self.u8, self.u16, self.u32, self.u64, self.u128, self.bool = (
            self.add({"primitive": name}) for name in primitives
        )
        self.bytes = self.add({"sequence": {"type": self.u8}})
        self.byte32 = self.array(32)
        self.nothing = self.add({"tuple": []})
        self.account = self.composite("sp_core::crypto::AccountId32", (None, self.byte32))
        self.hash = self.composite("primitive_types::H256", (None, self.byte32))

    def add(self, definition: dict[str, Any], path: str = "", params: list[dict[str, Any]] | None = None) -> int:
        one = {"path": path.split("::") if path else [], "params": params or [], "def": definition, "docs": []}
        self.types.append({"id": len(self.types), "type": one})
        return len(self.types) - 1

    def array(self, length: int) -> int:
        return self.add({"array": {"len": length, "type": self.u8}})

    def compact(self, kind: int) -> int:
        return self.add({"compact": {"type": kind}})

    def composite(self, path: str, *fields: tuple[str | None, int]) -> int:
        return self.add({"composite": {"fields": _fields(*fields)}}, path)

    def variant(self, path: str, *variants: tuple[str, int, Sequence[tuple[str | None, int]]], **params: int) -> int:
        described = [
            {"name": name, "fields": _fields(*fields), "index": index, "docs": []} for name, index, fields in variants
        ]
        named = [{"name": name, "type": kind} for name, kind in params.items()]
        return self.add({"variant": {"variants": described}}, path, named)

    def option(self, kind: int) -> int:
        return self.variant("Option", ("None", 0, []), ("Some", 1, [(None, kind)]), T=kind)

    def names(self, path: str, *names: str) -> int:
        return self.variant(path, *((name, index, []) for index, name in enumerate(names)))

    def metadata(self) -> dict[str, Any]:
        did_call, did_event = self.did_call(), self.did_event()
        system_event = self.system_event()
        calls = self.variant("small::Call", ("PeaqDid", PEAQ_DID, [(None, did_call)]))
        events = self.variant(
            "small::Event", ("System", SYSTEM, [(None, system_event)]), ("PeaqDid", PEAQ_DID, [(None, did_event)])
        )
        constants = [{"name": "SS58Prefix", "type": self.u16, "value": "0x2a00", "documentation": []}]
        now = _entry("Now", {"Plain": self.u64}, "0x" + "00" * 8)
        attributes = {"Map": {"hashers": ["Blake2_128Concat"], "key": self.byte32, "value": self.attribute()}}
        pallets = [
            _pallet("System", SYSTEM, [self.events(events)], event=system_event, constants=constants),
            _pallet("Timestamp", TIMESTAMP, [now]),
            _pallet(
                "PeaqDid",
                PEAQ_DID,
                [_entry("AttributeStore", attributes, "0x" + "00" * 14)],
                calls=did_call,
                event=did_event,
                error=self.names("peaq_pallet_did::pallet::Error", *ERRORS),
            ),
        ]
        extrinsic = {"ty": self.extrinsic(calls), "version": 4, "signed_extensions": self.extensions()}
        runtime = self.composite("small::Runtime")
        return {"types": {"types": self.types}, "pallets": pallets, "extrinsic": extrinsic, "runtime_type": runtime}

    def attribute(self) -> int:
        fields = (("name", self.bytes), ("value", self.bytes), ("validity", self.u32), ("created", self.u64))
        return self.composite("peaq_pallet_did::structs::Attribute", *fields)

    def did_call(self) -> int:
        named = [("did_account", self.account), ("name", self.bytes)]
        whole = [*named, ("value", self.bytes), ("valid_for", self.option(self.u32))]
        return self.variant(
            "peaq_pallet_did::pallet::Call",
            *(("add_attribute", 0, whole), ("update_attribute", 1, whole)),
            *(("read_attribute", 2, named), ("remove_attribute", 3, named)),
        )

    def did_event(self) -> int:
        named = [(None, self.account), (None, self.account), (None, self.bytes)]
        whole = [*named, (None, self.bytes), (None, self.option(self.u32))]
        return self.variant(
            "peaq_pallet_did::pallet::Event",
            *(("AttributeAdded", 0, whole), ("AttributeUpdated", 2, whole), ("AttributeRemoved", 3, named)),
        )

    def system_event(self) -> int:
        weight = self.composite("frame_support::weights::Weight", (None, self.u64))
        kind = self.names("frame_support::weights::DispatchClass", "Normal", "Operational", "Mandatory")
        pays = self.names("frame_support::weights::Pays", "Yes", "No")
        info = self.composite(
            "frame_support::weights::DispatchInfo", ("weight", weight), ("class", kind), ("pays_fee", pays)
        )
        module = self.composite("sp_runtime::ModuleError", ("index", self.u8), ("error", self.array(4)))
        error = self.variant(
            "sp_runtime::DispatchError",
            *(("Other", 0, []), ("CannotLookup", 1, []), ("BadOrigin", 2, []), ("Module", 3, [(None, module)])),
        )
        return self.variant(
            "frame_system::pallet::Event",
            ("ExtrinsicSuccess", 0, [("dispatch_info", info)]),
            ("ExtrinsicFailed", 1, [("dispatch_error", error), ("dispatch_info", info)]),
        )

    def events(self, event: int) -> dict[str, Any]:
        phase = self.variant("frame_system::Phase", ("ApplyExtrinsic", 0, [(None, self.u32)]), ("Finalization", 1, []))
        topics = self.add({"sequence": {"type": self.hash}})
        record = self.composite("frame_system::EventRecord", ("phase", phase), ("event", event), ("topics", topics))
        return _entry("Events", {"Plain": self.add({"sequence": {"type": record}})}, "0x00")

    def extrinsic(self, call: int) -> int:
        address = self.variant(
            "sp_runtime::multiaddress::MultiAddress",
            *(("Id", 0, [(None, self.account)]), ("Raw", 2, [(None, self.bytes)])),
        )
        names = (("Ed25519", "ed25519", 64), ("Sr25519", "sr25519", 64), ("Ecdsa", "ecdsa", 65))
        kinds = [
            (name, index, [(None, self.composite(f"sp_core::{path}::Signature", (None, self.array(length))))])
            for index, (name, path, length) in enumerate(names)
        ]
        signature = self.variant("sp_runtime::MultiSignature", *kinds)
        params = {"Address": address, "Call": call, "Signature": signature, "Extra": self.nothing}
        return self.add(
            {"composite": {"fields": _fields((None, self.bytes))}},
            "sp_runtime::generic::unchecked_extrinsic::UncheckedExtrinsic",
            [{"name": name, "type": kind} for name, kind in params.items()],
        )

    def extensions(self) -> list[dict[str, Any]]:
        # Of the 256 variants two are enough: how an era is written is known by the type's path.
        era = self.variant("sp_runtime::generic::era::Era", ("Immortal", 0, []), ("Mortal1", 1, [(None, self.u8)]))
        nonce, tip = self.compact(self.u32), self.compact(self.u128)
        rows = [
            *(("CheckSpecVersion", self.nothing, self.u32), ("CheckTxVersion", self.nothing, self.u32)),
            *(("CheckGenesis", self.nothing, self.hash), ("CheckMortality", era, self.hash)),
            *(("CheckNonce", nonce, self.nothing), ("ChargeTransactionPayment", tip, self.nothing)),
        ]
        return [{"identifier": name, "ty": kind, "additional_signed": added} for name, kind, added in rows]


def _entry(name: str, kind: dict[str, Any], default: str) -> dict[str, Any]:
    return {"name": name, "modifier": "Default", "type": kind, "default": default, "documentation": []}


def _pallet(
    name: str,
    index: int,
    entries: list[dict[str, Any]],
    *,
    calls: int | None = None,
    event: int | None = None,
    error: int | None = None,
    constants: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    numbers = {"calls": calls, "event": event, "error": error}
    return {
        "name": name,
        "storage": {"prefix": name, "entries": entries},
        "constants": constants or [],
        "index": index,
    } | {part: None if number is None else {"ty": number} for part, number in numbers.items()}
