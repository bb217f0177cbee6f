"""OpenAI's older completions API, on the same tasks: a prompt goes to the model as it stands."""
