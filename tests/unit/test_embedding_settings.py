"""What a node's settings say to its engines that turn texts into vectors."""

from pathlib import Path

from nodes.engine import RemoteSpec
from nodes.settings import NodeSettings


def test_the_small_model_is_known_by_name_and_others_by_where_they_lie() -> None:
    (small,) = NodeSettings(embedding_model=("all-minilm-l6-v2",)).embedding_specs
    assert (small.engine, small.model, small.model_id) == ("minilm", None, "all-minilm-l6-v2")
    named = NodeSettings(embedding_engine="xllamacpp", embedding_model=("a.gguf", "b.gguf"), context=512)
    assert [(spec.model, spec.model_id, spec.context_tokens) for spec in named.embedding_specs] == [
        ("a.gguf", None, 512),
        ("b.gguf", None, 512),
    ]


def test_the_server_for_vectors_is_another_one_where_it_is_named_and_gets_no_key_of_the_first() -> None:
    both = NodeSettings(url="http://chat", engine_key_file=Path("chat.key"), embedding_engine="openai")
    assert both.embedding_spec("m").remote == RemoteSpec(url="http://chat", key_file=Path("chat.key"))
    own = NodeSettings(
        url="http://chat",
        engine_key_file=Path("chat.key"),
        embedding_engine="openai",
        embedding_url="http://vectors",
        embedding_key_variable="VECTORS_KEY",
    )
    assert own.embedding_spec("m").remote == RemoteSpec(url="http://vectors", key_variable="VECTORS_KEY")
    assert own.engine_spec("m").remote == RemoteSpec(url="http://chat", key_file=Path("chat.key"))
