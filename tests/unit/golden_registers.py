"""What golden files of the registers mean, of NONCES and of SESSIONS: a part of ``tests.unit.golden_events``."""

from streams.access.limits import Bounds, Limits
from streams.devices.replica import Price, Replica
from streams.events import (
    AccountClosed,
    AccountErased,
    AccountOpened,
    DeviceAdmitted,
    DeviceChecked,
    DeviceLost,
    DeviceRegistered,
    DeviceReturned,
    DeviceRevoked,
    DeviceSuspended,
    DeviceUnconfirmed,
    DeviceVerified,
    KeyIssued,
    KeyRevoked,
    MemberJoined,
    MemberLeft,
    ModelAnnounced,
    ModelDesired,
    ModelRefused,
    ModelScaled,
    ModelWithdrawn,
    NonceSpent,
    SessionEnded,
)
from streams.groups.events import GroupDissolved, GroupJoined, GroupProposed, GroupReady
from streams.groups.part import GroupPart
from streams.models.events import InRegion
from streams.models.store import StoredModel

_AT_MS = 1_767_225_600_123
_MODEL = "smollm2-135m-instruct"

REGISTERS = {
    "model.announced.v1": ModelAnnounced(
        at_ms=_AT_MS,
        node="node-a",
        replica=Replica(
            model=_MODEL,
            engine="xllamacpp",
            context_tokens=8192,
            slots=4096,
            quantisation="Q4_1",
            parameters=134_515_008,
            file_bytes=98_765_432,
            memory_bytes=390_000_000,
            tokens_per_s=95.5,
            prompt_tokens_per_s=190.25,
        ),
    ),
    "model.announced.v1.minimal": ModelAnnounced(
        at_ms=_AT_MS, node="n", replica=Replica(model="m", engine="synthetic", context_tokens=1, slots=1)
    ),
    "model.announced.v1.restarts": ModelAnnounced(
        at_ms=_AT_MS,
        node="n",
        replica=Replica(model="m", engine="litellm", context_tokens=1, slots=1, continues=False),
    ),
    "model.announced.v1.cloud": ModelAnnounced(
        at_ms=_AT_MS,
        node="cloud-1",
        replica=Replica(
            model="large",
            engine="litellm",
            context_tokens=131_072,
            slots=64,
            abilities=("tools", "schema", "vision", "logprobs"),
            tier="cloud",
            region="eu",
            site="frankfurt",
            price=Price(currency="EUR", prompt_micro=150_000, completion_micro=600_000, cached_prompt_micro=75_000),
        ),
    ),
    "model.announced.v1.biased": ModelAnnounced(
        at_ms=_AT_MS,
        node="n",
        replica=Replica(model="m", engine="xllamacpp", context_tokens=1, slots=1, abilities=("logit_bias",)),
    ),
    "model.announced.v1.raw": ModelAnnounced(
        at_ms=_AT_MS,
        node="n",
        replica=Replica(model="m", engine="triton", context_tokens=1, slots=1, abilities=("raw_prompt",)),
    ),
    "model.announced.v1.group": ModelAnnounced(
        at_ms=_AT_MS,
        node="group-1",
        replica=Replica(model="big", engine="xllamacpp", context_tokens=4096, slots=1, tier="group", price=Price()),
    ),
    "model.announced.v1.embedding": ModelAnnounced(
        at_ms=_AT_MS,
        node="node-a",
        replica=Replica(
            model="all-minilm-l6-v2", engine="minilm", context_tokens=256, slots=8, kind="embedding", dimensions=384
        ),
    ),
    "model.announced.v1.shortens": ModelAnnounced(
        at_ms=_AT_MS,
        node="node-a",
        replica=Replica(
            model="nomic-embed-text-v1.5",
            engine="xllamacpp",
            context_tokens=2048,
            slots=4,
            kind="embedding",
            dimensions=768,
            shortens=True,
        ),
    ),
    "model.withdrawn.v1": ModelWithdrawn(at_ms=_AT_MS, node="node-a", model=_MODEL, reason="not announced again"),
    "model.refused.v1": ModelRefused(at_ms=_AT_MS, node="node-a", model=_MODEL, reason="it did not answer in 30 s"),
    "model.desired.v1": ModelDesired(
        at_ms=_AT_MS,
        file=StoredModel(
            name=_MODEL,
            sha256="0123456789abcdef" * 4,
            size_bytes=98_362_432,
            pushed_at_ms=_AT_MS,
            architecture="llama",
            quantisation="Q4_1",
            licence="apache-2.0",
            context_tokens=8192,
            parameters=134_515_008,
            cache_bytes_per_token=23_040,
        ),
        replicas=1,
        most=4,
        by="operator",
    ),
    "model.desired.v1.minimal": ModelDesired(
        at_ms=_AT_MS, file=StoredModel(name="m", sha256="0" * 64, size_bytes=1, chunk_bytes=131_072), replicas=0
    ),
    "model.desired.v1.regional": ModelDesired(
        at_ms=_AT_MS,
        file=StoredModel(name="m", sha256="0" * 64, size_bytes=1),
        replicas=0,
        most=3,
        regions=("eu", "us-east"),
    ),
    "model.scaled.v1.regional": ModelScaled(
        at_ms=_AT_MS,
        model=_MODEL,
        replicas=2,
        reason="in region eu: 3 tasks wait",
        regions=(InRegion(region="eu", replicas=1),),
    ),
    "model.scaled.v1": ModelScaled(at_ms=_AT_MS, model=_MODEL, replicas=2, reason="3 tasks wait"),
    "device.registered.v1": DeviceRegistered(at_ms=_AT_MS, node="node-a", software="ig3-edge-network/0.1.0"),
    "device.verified.v1": DeviceVerified(
        at_ms=_AT_MS, node="node-a", did="did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK", proved_by="subject"
    ),
    "device.admitted.v1": DeviceAdmitted(
        at_ms=_AT_MS,
        node="node-a",
        by="operator",
        reason="Ada's laptop",
        did="did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK",
    ),
    "device.admitted.v1.owned": DeviceAdmitted(
        at_ms=_AT_MS, node="node-a", by="operator ana", owner="lab", stake=2_500
    ),
    "device.admitted.v1.minimal": DeviceAdmitted(at_ms=_AT_MS, node="node-a", by="policy open"),
    "device.suspended.v1": DeviceSuspended(
        at_ms=_AT_MS,
        node="node-a",
        by="dispatcher",
        reason="claimed 9 tokens of 3",
        task="019b7a3e00007abc8def012345678900",
    ),
    "device.suspended.v1.minimal": DeviceSuspended(at_ms=_AT_MS, node="node-a", by="operator", reason="looked odd"),
    "device.revoked.v1": DeviceRevoked(at_ms=_AT_MS, node="node-a", by="operator", reason="the key was stolen"),
    "device.unconfirmed.v1": DeviceUnconfirmed(
        at_ms=_AT_MS,
        node="node-a",
        did="did:peaq:5GrwvaEF5zXb26Fz9rcQpDWS57CtERHpNehXCPcNoHGKutQY",
        read_at_ms=_AT_MS - 1_800_000,
        reason="no endpoint of the chain can be used (wss://one.example: it does not answer as a node does: timed out)",
    ),
    "device.checked.v1": DeviceChecked(
        at_ms=_AT_MS, node="node-a", task="019b7a3e00007abc8def012345678900", other="node-b", agreed=True
    ),
    "device.checked.v1.differs": DeviceChecked(
        at_ms=_AT_MS,
        node="node-a",
        task="019b7a3e00007abc8def012345678900",
        other="node-b",
        agreed=False,
        detail="the texts differ at character 12 of 40",
        undecided=True,
    ),
    "device.lost.v1": DeviceLost(at_ms=_AT_MS, node="node-a", reason="missed its reports"),
    "device.returned.v1": DeviceReturned(at_ms=_AT_MS, node="node-a"),
}

GROUPS = {
    "group.proposed.v1": GroupProposed(
        at_ms=_AT_MS, leader="node-a", model="big", memory_bytes=48_000_000_000, fingerprint="0" * 64, replaces="g1"
    ),
    "group.proposed.v1.minimal": GroupProposed(
        at_ms=_AT_MS, leader="node-a", model="big", memory_bytes=1, fingerprint="0" * 64
    ),
    "group.joined.v1": GroupJoined(
        at_ms=_AT_MS, node="node-b", address="10.0.0.7:7300", memory_bytes=16_000_000_000, fingerprint="f" * 64
    ),
    "group.ready.v1": GroupReady(
        at_ms=_AT_MS,
        parts=(
            GroupPart(node="node-a", layers=20, memory_bytes=9_000_000_000),
            GroupPart(node="node-b", layers=61, memory_bytes=30_000_000_000, rtt_ms=0.35, mib_per_s=110.5),
        ),
    ),
    "group.dissolved.v1": GroupDissolved(at_ms=_AT_MS, by="registry", reason="node-b is lost: it has left the bus"),
}

_DID = "did:pkh:eip155:1:0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"

ACCESS = {
    "account.opened.v1": AccountOpened(at_ms=_AT_MS, by="operator", owner=_DID),
    "account.opened.v1.minimal": AccountOpened(at_ms=_AT_MS, by="operator"),
    "member.joined.v1": MemberJoined(at_ms=_AT_MS, did=_DID, role="owner", by="operator"),
    "member.joined.v1.member": MemberJoined(at_ms=_AT_MS, did=_DID, role="member", by=_DID),
    "member.joined.v1.viewer": MemberJoined(at_ms=_AT_MS, did=_DID, role="viewer", by=_DID),
    "member.joined.v1.operator": MemberJoined(at_ms=_AT_MS, did=_DID, role="operator", by="operator"),
    "member.left.v1": MemberLeft(at_ms=_AT_MS, did=_DID, by=_DID),
    "key.issued.v1": KeyIssued(
        at_ms=_AT_MS,
        key_id="k7q2mzx4c5ta",
        digest="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        name="Grüße, 世界",
        rights=("chat", "read", "admin"),
        models=(_MODEL, "org/Modèle 7B:q4"),
        expires_at_ms=_AT_MS + 86_400_000,
        by=_DID,
    ),
    "key.issued.v1.tools": KeyIssued(
        at_ms=_AT_MS,
        key_id="k7q2mzx4c5tc",
        digest="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        name="a key for two functions",
        rights=("chat",),
        tools=("weather", "clock"),
        by="operator",
    ),
    "key.issued.v1.minimal": KeyIssued(
        at_ms=_AT_MS, key_id="k", digest="0" * 64, name="", rights=("chat",), by="operator"
    ),
    "key.issued.v1.limited": KeyIssued(
        at_ms=_AT_MS,
        key_id="k7q2mzx4c5tb",
        digest="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        name="a key with limits",
        rights=("chat",),
        limits=Limits(requests_per_minute=60, tokens_per_minute=100_000, concurrent_streams=4),
        by="operator",
    ),
    "key.issued.v1.bounded": KeyIssued(
        at_ms=_AT_MS,
        key_id="k7q2mzx4c5td",
        digest="ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        name="a key for short answers",
        rights=("chat",),
        bounds=Bounds(most_output_tokens=256, most_seconds=30),
        by="operator",
    ),
    "key.revoked.v1": KeyRevoked(at_ms=_AT_MS, key_id="k7q2mzx4c5ta", by="operator", reason="it leaked"),
    "account.closed.v1": AccountClosed(at_ms=_AT_MS, by="operator", reason="asked for by its owner"),
    "account.erased.v1": AccountErased(at_ms=_AT_MS, by="operator", reason="asked for by its owner", messages=4096),
    "account.erased.v1.minimal": AccountErased(at_ms=_AT_MS, by="operator", reason="asked for by its owner"),
}

NONCES = {
    "nonce.spent.v1": NonceSpent(at_ms=_AT_MS),
    "session.ended.v1": SessionEnded(at_ms=_AT_MS, did="did:pkh:eip155:1:0x9858EfFD232B4033E47d90003D41EC34EcaEda94"),
}
