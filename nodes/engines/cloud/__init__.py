"""Models of providers outside, asked by LiteLLM. Nothing here is imported unless a node is started for it."""
