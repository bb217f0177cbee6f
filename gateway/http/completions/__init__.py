"""OpenAI's older completions API, on the same tasks: a prompt is one message of a user."""
