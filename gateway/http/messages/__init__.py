"""Anthropic's Messages API, on the same tasks as OpenAI's."""
