"""OpenAI's chat completions: requests read strictly, answers whole or as they are written."""
