"""Reading peaq's DID documents, which anybody may have written: against Google's protobuf, and against bad input."""

from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from mesh.errors import InvalidDocument
from mesh.identity.peaq.document import (
    MAX_DOCUMENT_BYTES,
    Document,
    DocumentSignature,
    Service,
    VerificationMethod,
    decode_document,
    encode_document,
)
from tests import peaq_documents as oracle

TEXT = st.text(max_size=200)
METHODS = st.builds(VerificationMethod, id=TEXT, type=TEXT, controller=TEXT, public_key_multibase=TEXT)
SIGNATURES = st.builds(DocumentSignature, type=TEXT, issuer=TEXT, hash=TEXT)
SERVICES = st.builds(Service, id=TEXT, type=TEXT, endpoint=TEXT, data=TEXT)
DOCUMENTS = st.builds(
    Document,
    id=TEXT.filter(bool),
    controller=TEXT,
    methods=st.lists(METHODS, max_size=3).map(tuple),
    signature=st.none() | SIGNATURES,
    services=st.lists(SERVICES, max_size=3).map(tuple),
    authentication=st.lists(TEXT, max_size=3).map(tuple),
)


def told(made: Any) -> tuple[object, ...]:
    """What Google's message says, in the order of our fields."""
    signature = made.signature
    return (
        *(made.id, made.controller),
        tuple(
            VerificationMethod(
                id=m.id, type=m.type, controller=m.controller, public_key_multibase=m.public_key_multibase
            )
            for m in made.verification_methods
        ),
        DocumentSignature(type=signature.type, issuer=signature.issuer, hash=signature.hash)
        if made.HasField("signature")
        else None,
        tuple(Service(id=s.id, type=s.type, endpoint=s.service_endpoint, data=s.data) for s in made.services),
        tuple(made.authentications),
    )


def read(data: bytes) -> tuple[object, ...]:
    found = decode_document(data)
    return found.id, found.controller, found.methods, found.signature, found.services, found.authentication


def sample() -> Any:
    made = oracle.Document(id="did:peaq:x", controller="did:peaq:x", authentications=["#k"])
    made.verification_methods.add(id="#k", type="Ed25519VerificationKey2020", public_key_multibase="z6Mk")
    made.services.add(id="#s", type="payment", service_endpoint="5x", data="ü")
    made.signature.type, made.signature.issuer, made.signature.hash = "t", "i", "h"
    return made


@pytest.mark.parametrize(
    "write", [bytes, lambda raw: raw.hex().encode(), lambda raw: b"0x" + raw.hex().upper().encode()]
)
def test_a_document_is_read_from_hex_and_as_it_is(write: Any) -> None:
    assert read(write(sample().SerializeToString())) == told(sample())


@given(DOCUMENTS)
def test_what_is_written_is_read_alike_here_and_by_protobuf(document: Document) -> None:
    data = encode_document(document)
    assert told(oracle.Document.FromString(data)) == read(data.hex().encode())
    assert encode_document(decode_document(data.hex().encode())) == data


@given(st.data())
def test_what_is_accepted_of_damaged_documents_is_what_protobuf_reads(data: st.DataObject) -> None:
    whole = bytearray(sample().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(whole[: data.draw(st.integers(1, len(whole)))])
    try:
        found = read(damaged.hex().encode())
    except InvalidDocument:
        return
    try:
        assert told(oracle.Document.FromString(damaged)) == found
    except DecodeError:
        pytest.fail(f"protobuf refuses {damaged.hex()}, which was read here")


def test_every_cut_is_noticed_unless_it_lies_between_fields() -> None:
    data = sample().SerializeToString()
    for length in range(1, len(data)):
        try:
            expected = told(oracle.Document.FromString(data[:length]))
        except DecodeError:
            with pytest.raises(InvalidDocument, match="cut off"):
                decode_document(data[:length].hex().encode())
        else:
            assert read(data[:length].hex().encode()) == expected


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "empty"),
        (b"0x", "field 6 holds a number"),
        (b"\x08\x05", "field 1 holds a number"),
        (b"\x1a\x02\x08\x05", "field 1 holds a number"),
        (b"\x0d\x01\x02\x03\x04", "field 1 holds a number"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x02\x00", "field 0"),
        (b"\x0a\x02\xff\xfe", "UTF-8"),
        (b"\x0a\x02\xff\xfe\x0a\x01x", "UTF-8"),
        (b"\x0a" + b"\xff" * 10 + b"\x01", "does not end"),
        (b"\x0a\xff\xff\xff\xff\x7f", "cut off"),
    ],
)
def test_what_is_no_document_is_refused(value: bytes, why: str) -> None:
    with pytest.raises(InvalidDocument, match=why):
        decode_document(value)


@pytest.mark.parametrize("size", [MAX_DOCUMENT_BYTES + 1, 1_000_000])
def test_a_document_that_is_too_large_is_refused_however_it_is_written(size: int) -> None:
    large = oracle.Document(id="did:peaq:x", controller="c" * (size - 15)).SerializeToString()
    assert len(large) >= size
    for value in (large, large.hex().encode(), b"0x" + large.hex().encode()):
        with pytest.raises(InvalidDocument, match="too many"):
            decode_document(value)


def test_the_largest_document_is_read() -> None:
    padded = oracle.Document(id="x", controller="c" * (MAX_DOCUMENT_BYTES - 3 - 3)).SerializeToString()
    assert len(padded) == MAX_DOCUMENT_BYTES
    assert decode_document(b"0x" + padded.hex().encode()).id == "x"


def test_unknown_fields_are_passed_over_and_signed_with_the_rest() -> None:
    unknown = b"\x38\x96\x01" + b"\x41" + b"\x00" * 8 + b"\x4a\x02hi" + b"\x55\x01\x02\x03\x04"
    data = sample().SerializeToString()
    found = decode_document((data + unknown).hex().encode())
    assert (found.id, found.methods) == (decode_document(data).id, decode_document(data).methods)
    assert found.unsigned.endswith(unknown)


def test_of_a_field_that_stands_twice_the_last_one_counts_and_messages_are_merged() -> None:
    first, second = oracle.Document(id="first", controller="c"), oracle.Document(id="second")
    first.signature.type, first.signature.issuer, second.signature.issuer = "t", "one", "two"
    data = first.SerializeToString() + second.SerializeToString()
    assert read(data.hex().encode()) == told(oracle.Document.FromString(data))
    found = decode_document(data)
    assert (found.id, found.controller) == ("second", "c")
    assert found.signature == DocumentSignature(type="t", issuer="two")


def test_the_unsigned_part_is_every_byte_but_the_signature() -> None:
    made = sample()
    whole = decode_document(made.SerializeToString())
    made.ClearField("signature")
    assert whole.unsigned == made.SerializeToString()
