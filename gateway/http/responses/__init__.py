"""OpenAI's Responses API: a task as a response that is created, read again, continued, cancelled and deleted."""
