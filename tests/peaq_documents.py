"""DID documents as peaq's own tools write them, made by Google's protobuf: independent of the code under test."""

from collections.abc import Sequence
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from mesh.identity.did import Did
from mesh.identity.keys import SigningKey
from mesh.identity.subject_proof import prove

FOREVER = 4_000_000_000
_TEXT = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_ONE = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
_MANY = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED


def _schema() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="peaq.proto", package="peaq", syntax="proto3")
    parts = {
        "VerificationMethod": ("id", "type", "controller", "public_key_multibase"),
        "Signature": ("type", "issuer", "hash"),
        "Service": ("id", "type", "service_endpoint", "data"),
    }
    for name, fields in parts.items():
        part = file.message_type.add(name=name)
        for number, field in enumerate(fields, start=1):
            part.field.add(name=field, number=number, type=_TEXT, label=_ONE)
    whole = file.message_type.add(name="Document")
    whole.field.add(name="id", number=1, type=_TEXT, label=_ONE)
    whole.field.add(name="controller", number=2, type=_TEXT, label=_ONE)
    for name, number, kind, label in (
        ("verification_methods", 3, "VerificationMethod", _MANY),
        ("signature", 4, "Signature", _ONE),
        ("services", 5, "Service", _MANY),
    ):
        whole.field.add(name=name, number=number, type=_MESSAGE, type_name=f".peaq.{kind}", label=label)
    whole.field.add(name="authentications", number=6, type=_TEXT, label=_MANY)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("peaq.Document"))


Document: Any = _schema()
"""The message class, for those who want it whole."""


def document(
    did: Did, *keys: tuple[str, str, str], listed: Sequence[str] | None = None, about: str | None = None
) -> Any:
    """A document with keys, each (id, type, key as text), all of them for authentication unless ``listed`` says."""
    made = Document(id=did.text if about is None else about, controller=did.text)
    for name, kind, text in keys:
        made.verification_methods.add(id=name, type=kind, controller=did.text, public_key_multibase=text)
    made.authentications.extend([name for name, _, _ in keys] if listed is None else listed)
    return made


def sign(made: Any, issuer: Did, key: SigningKey, *, kind: str, until_s: int = FOREVER) -> Any:
    """Sign a document as the mesh wants it: all of it but the signature."""
    made.ClearField("signature")
    head = f"ig3-did-document-v1\n{kind}\n{issuer.text}\n{until_s}\n".encode()
    proof = prove(issuer, key, head + made.SerializeToString())
    shown = f"ig3-1.{until_s}.{proof.signature.hex()}" + (f".{proof.public_key.hex()}" if proof.public_key else "")
    made.signature.type, made.signature.issuer, made.signature.hash = kind, issuer.text, shown
    return made


def on_chain(made: Any) -> bytes:
    """As it stands on the chain: the protobuf in hex digits."""
    return made.SerializeToString().hex().encode()
