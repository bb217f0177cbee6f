"""Engines that are reached over HTTP: what they share, and the OpenAI-compatible one."""
