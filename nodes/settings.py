"""Settings of a node."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta, Struct

from nodes.embedding import EmbeddingEngineName, EmbeddingSpec
from nodes.engine import DEFAULT_MODEL, EngineName, EngineSpec, RemoteSpec, SyntheticKind, TritonPrompt, VllmSpec
from nodes.personal_data.spec import RedactionSpec
from streams.devices.replica import Ability
from streams.tasks.placing import Redaction

NO_MODEL: Final = "none"
"""What ``--model`` says where a node only lends memory, or serves by a shard group."""

AUTO: Final = "auto"
"""What ``--embedding-model`` says for the small model of that kind, where it is installed."""

_LONGEST_HEARTBEAT: Final = timedelta(minutes=10)
"""What the status message takes."""


class NodeSettings(Struct, frozen=True, kw_only=True):
    """One node: who it is, and the models it serves."""

    id: Annotated[
        str | None,
        Meta(
            description="The node's name on the mesh; none: one is made at the first start and kept.", examples=["ID"]
        ),
    ] = None
    instance: Annotated[
        int, Meta(ge=1, le=9999, description="Tells nodes apart that share a data folder, so that each has its own id.")
    ] = 1
    device_key: Annotated[
        Path | None,
        Meta(
            description="Key file of this device's DID, as `ig3 did create` makes it; none: one is made at the first"
            " start and kept in the data folder.",
            examples=["FILE"],
        ),
    ] = None
    device_passphrase_file: Annotated[
        Path | None,
        Meta(description="File whose first line opens the key file; none: it is not sealed.", examples=["FILE"]),
    ] = None
    device_credential: Annotated[
        Path | None,
        Meta(description="File with an issuer's credential, where the mesh wants one.", examples=["FILE"]),
    ] = None
    engine: Annotated[
        EngineName,
        Meta(description="What runs the model; synthetic generates fixed words, for benchmarks and fault tests."),
    ] = "xllamacpp"
    url: Annotated[
        str,
        Meta(
            description="The server that the engines openai and triton ask, with or without /v1; triton also grpc://.",
            examples=["http://HOST:PORT"],
        ),
    ] = ""
    engine_key_file: Annotated[
        Path | None,
        Meta(description="File whose first line is that server's API key; none: it wants none.", examples=["FILE"]),
    ] = None
    engine_key_variable: Annotated[
        str | None,
        Meta(description="Variable of the environment that holds the key instead, such as OPENAI_API_KEY."),
    ] = None
    engine_patience: Annotated[
        timedelta, Meta(description="Longest silence of such a server, after which the answer is asked for elsewhere.")
    ] = timedelta(minutes=2)
    cloud_config: Annotated[
        Path | None,
        Meta(description="File with the models and providers of the engine litellm.", examples=["cloud.yaml"]),
    ] = None
    redaction: Annotated[
        Redaction,
        Meta(
            description="What the engine litellm hides from providers: personal data and secrets (standard), addresses"
            " of wallets, DIDs and whatever may be a key as well (strict), or nothing (off)."
        ),
    ] = "standard"
    redaction_opt_out: Annotated[
        bool, Meta(description="Whether a request may ask for less than redaction; for more it always may.")
    ] = True
    redaction_countries: Annotated[
        tuple[Annotated[str, Meta(pattern="^[A-Z]{2}$")], ...],
        Meta(
            max_length=16,
            description="Countries (ISO 3166) whose telephone numbers are hidden also where they are written without"
            " the country's code.",
            examples=["US,GB"],
        ),
    ] = ("US", "GB", "DE")
    triton_prompt: Annotated[
        TritonPrompt,
        Meta(description="How a conversation becomes a prompt for Triton: ChatML, or names and colons (plain)."),
    ] = "chatml"
    vllm_program: Annotated[Path, Meta(description="The command of vLLM, as `make vllm` installs it.")] = Path(
        ".venvs/vllm/bin/vllm"
    )
    vllm_tensor_parallel: Annotated[
        int, Meta(ge=1, le=64, description="Over how many GPUs vLLM splits each layer of the model.")
    ] = 1
    vllm_pipeline_parallel: Annotated[
        int, Meta(ge=1, le=64, description="Over how many GPUs vLLM deals out the layers of the model.")
    ] = 1
    vllm_prefix_cache: Annotated[
        bool,
        Meta(
            description="Whether vLLM remembers beginnings of prompts; accounts can then tell what others have asked."
        ),
    ] = False
    vllm_options: Annotated[
        tuple[str, ...],
        Meta(description="Further arguments of `vllm serve`, each as one word.", examples=["--OPTION=VALUE,..."]),
    ] = ()
    model: Annotated[
        tuple[str, ...],
        Meta(
            min_length=1,
            max_length=64,
            description="A built-in model, the path of a GGUF file, store:NAME of the model store, or a server's name"
            " for a model (vllm: a folder); several, with commas or each with the flag, are served side by side. none:"
            " no model of its own.",
            examples=["ID|FILE.gguf"],
        ),
    ] = (DEFAULT_MODEL,)
    model_id: Annotated[
        tuple[str, ...],
        Meta(
            description="What users call the model, or each of several in order; none: made from the file's name.",
            examples=["ID"],
        ),
    ] = ()
    embedding_engine: Annotated[
        EmbeddingEngineName, Meta(description="What turns texts into vectors, for the models of embedding_model.")
    ] = "minilm"
    embedding_model: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
        Meta(
            max_length=16,
            description="Models that turn texts into vectors, served beside the others: all-minilm-l6-v2 (minilm),"
            " GGUF files (xllamacpp), a server's names (openai), folders (vllm), or ids in cloud_config (litellm)."
            " auto: all-minilm-l6-v2 if it is installed, as `ig3 up` has it, but not beside the synthetic engine."
            " none: no such model.",
            examples=["ID"],
        ),
    ] = ()
    embedding_url: Annotated[
        str,
        Meta(
            description="The server that the embedding engine openai asks; none: that of url, with its key.",
            examples=["http://HOST:PORT"],
        ),
    ] = ""
    embedding_key_file: Annotated[
        Path | None,
        Meta(description="File whose first line is the key of embedding_url; none: it wants none.", examples=["FILE"]),
    ] = None
    embedding_key_variable: Annotated[
        str | None, Meta(description="Variable of the environment that holds that key instead.")
    ] = None
    embedding_shortens: Annotated[
        bool,
        Meta(
            description="Whether these models were trained so that their vectors may be cut (Matryoshka): only then may"
            " requests ask for fewer dimensions."
        ),
    ] = False
    takes_models: Annotated[
        bool,
        Meta(
            description="Whether the mesh may have this node load models of its store beside its own, and give those up"
            " again."
        ),
    ] = True
    model_disk: Annotated[
        int,
        Meta(
            ge=1,
            description="Most that models fetched from the store may take on this disk; the least used go first.",
            extra={"unit": "bytes"},
        ),
    ] = 20 * 10**9
    slots: Annotated[
        Annotated[int, Meta(ge=1, le=256)] | None,
        Meta(
            description="Requests at once; none: what suits the engine (4 for llama.cpp by either binding).",
            examples=["N"],
        ),
    ] = None
    context: Annotated[
        int, Meta(ge=128, le=10_000_000, description="Tokens of prompt and answer together, for each request.")
    ] = 2048
    threads: Annotated[
        Annotated[int, Meta(ge=1, le=512)] | None,
        Meta(description="Threads that compute; none: one less than there are cores.", examples=["N"]),
    ] = None
    token_delay_ms: Annotated[
        float, Meta(ge=0, le=60_000, description="Pause before each token of the synthetic engine.", examples=["MS"])
    ] = 0.0
    synthetic: Annotated[
        SyntheticKind,
        Meta(
            description="How the synthetic engine takes over an answer: it continues the text, replays the same"
            " answer, or varies, so that it can do neither."
        ),
    ] = "continues"
    without: Annotated[
        tuple[Ability, ...],
        Meta(
            description="What the engine is not to do although it could: tools, schema (JSON under a schema), vision,"
            " logprobs, logit_bias, raw_prompt (/v1/completions); it is not announced, so that nothing that takes it is"
            " placed here.",
            examples=["ABILITY"],
        ),
    ] = ()
    poison: Annotated[
        str | None,
        Meta(
            description="For fault tests: the synthetic engine kills its process in answers to what has this in it.",
            examples=["TEXT"],
        ),
    ] = None
    drain: Annotated[
        timedelta,
        Meta(
            description="How long running answers may go on when the node is asked to stop; then others go on with"
            " them."
        ),
    ] = timedelta(seconds=10)
    region: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(
            description="Where data goes, for tasks that must not leave a region: a name of the operator's choice.",
            examples=["eu"],
        ),
    ] = None
    site: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64)] | None,
        Meta(description="Which house or data centre the device is in.", examples=["NAME"]),
    ] = None
    metered: Annotated[
        bool, Meta(description="Whether the owner pays for what goes over the link: others are preferred then.")
    ] = False
    heartbeat: Annotated[timedelta, Meta(description="Longest silence between two reports of the node's load.")] = (
        timedelta(milliseconds=1800)
    )

    def __post_init__(self) -> None:
        """Check what a type cannot say."""
        if not timedelta(0) < self.heartbeat <= _LONGEST_HEARTBEAT:
            raise ValueError("heartbeat must be more than nothing and at most 10 minutes")
        if self.drain < timedelta(0):
            raise ValueError("drain cannot be less than nothing")
        if self.engine_patience <= timedelta(0):
            raise ValueError("engine_patience must be more than nothing")
        if self.model_id and len(self.model_id) != len(self.model):
            raise ValueError("model_id must name every model, or none")
        if len(self.embedding_model) > 1 and {AUTO, NO_MODEL} & set(self.embedding_model):
            raise ValueError(f"embedding_model is {AUTO} or {NO_MODEL}, or it names models")

    @property
    def engine_specs(self) -> tuple[EngineSpec, ...]:
        """What each engine needs of this, in the order of the models."""
        if self.model == (NO_MODEL,):
            return ()
        names = self.model_id or (None,) * len(self.model)
        return tuple(self.engine_spec(model, name) for model, name in zip(self.model, names, strict=True))

    @property
    def embedding_specs(self) -> tuple[EmbeddingSpec, ...]:
        """What each engine needs of this that turns texts into vectors, but for what is only `AUTO`."""
        return tuple(self.embedding_spec(model) for model in self.embedding_model if model not in {AUTO, NO_MODEL})

    def embedding_spec(self, model: str | None = None) -> EmbeddingSpec:
        """What the engine of one such model needs; without a name, that of the small one."""
        is_small = self.embedding_engine == "minilm"
        return EmbeddingSpec(
            engine=self.embedding_engine,
            model=None if is_small else model,
            model_id=model if is_small else None,
            threads=self.threads,
            context_tokens=self.context,
            remote=self._embedding_remote,
            vllm=self._vllm,
            cloud_config=self.cloud_config,
            redaction=self._redaction,
            shortens=self.embedding_shortens,
        )

    def engine_spec(self, model: str, model_id: str | None = None) -> EngineSpec:
        """What the engine of one model needs of this."""
        return EngineSpec(
            engine=self.engine,
            model=model,
            model_id=model_id,
            slots=self.slots,
            context_tokens=self.context,
            threads=self.threads,
            token_delay_ms=self.token_delay_ms,
            synthetic=self.synthetic,
            remote=self._remote,
            cloud_config=self.cloud_config,
            redaction=self._redaction,
            triton_prompt=self.triton_prompt,
            vllm=self._vllm,
            without=self.without,
            poison=self.poison,
        )

    @property
    def _remote(self) -> RemoteSpec:
        return RemoteSpec(
            url=self.url,
            key_file=self.engine_key_file,
            key_variable=self.engine_key_variable,
            patience_s=self.engine_patience.total_seconds(),
        )

    @property
    def _embedding_remote(self) -> RemoteSpec:
        if not self.embedding_url:
            return self._remote
        return RemoteSpec(
            url=self.embedding_url,
            key_file=self.embedding_key_file,
            key_variable=self.embedding_key_variable,
            patience_s=self.engine_patience.total_seconds(),
        )

    @property
    def _redaction(self) -> RedactionSpec:
        return RedactionSpec(
            level=self.redaction, countries=self.redaction_countries, may_weaken=self.redaction_opt_out
        )

    @property
    def _vllm(self) -> VllmSpec:
        return VllmSpec(
            program=self.vllm_program,
            tensor_parallel=self.vllm_tensor_parallel,
            pipeline_parallel=self.vllm_pipeline_parallel,
            prefix_cache=self.vllm_prefix_cache,
            options=self.vllm_options,
        )
