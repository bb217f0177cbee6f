"""How many tokens a model takes, by its files: vLLM does not start where it is told more."""

import json
from pathlib import Path

import pytest

from nodes.engines.remote.model_folder import ModelFolder
from nodes.errors import EngineUnavailable

WANTED = 2048
NO_LIMIT = 1000000000000000019884624838656
"""What transformers writes where a tokenizer has none."""


def folder_of(place: Path, **files: object) -> ModelFolder:
    for name, said in {"config": {}, **files}.items():
        (place / f"{name}.json").write_text(json.dumps(said))
    return ModelFolder(str(place))


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        ({}, WANTED),
        ({"config": {"max_position_embeddings": 131072}}, WANTED),
        ({"config": {"max_position_embeddings": 512}}, 512),
        ({"config": {"n_positions": 1024, "max_position_embeddings": None}}, 1024),
        ({"config": {"text_config": {"max_position_embeddings": 1024}}}, 1024),
        ({"config": {"text_config": None, "seq_length": -1}}, WANTED),
        ({"tokenizer_config": {"model_max_length": NO_LIMIT}}, WANTED),
        ({"config": {"max_position_embeddings": 514}, "tokenizer_config": {"model_max_length": 512}}, 512),
        ({"config": {"max_position_embeddings": 512}, "sentence_bert_config": {"max_seq_length": 256}}, 256),
        (
            {"sentence_xlm-roberta_config": {"max_seq_length": 128}, "sentence_bert_config": {"max_seq_length": None}},
            128,
        ),
    ],
    ids=str,
)
def test_the_context_is_the_least_that_any_file_says(tmp_path: Path, files: dict[str, object], tokens: int) -> None:
    assert folder_of(tmp_path, **files).context_tokens(WANTED) == tokens


@pytest.mark.parametrize(
    ("config", "called"),
    [
        ({}, None),
        ({"torch_dtype": "float16"}, "float16"),
        ({"dtype": "bfloat16", "quantization_config": {"quant_method": "awq"}}, "awq"),
    ],
    ids=str,
)
def test_the_quantisation_is_what_the_model_calls_it(tmp_path: Path, config: object, called: str | None) -> None:
    assert folder_of(tmp_path, config=config).quantisation == called


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailable, match=r"sentence_bert_config\.json cannot be used: .*max_seq_length"):
        folder_of(tmp_path, sentence_bert_config={"max_seq_length": "many"}).context_tokens(WANTED)
