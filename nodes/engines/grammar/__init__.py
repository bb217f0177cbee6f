"""Grammars for llama.cpp, made here of JSON schemas: bounded in size and time, and never less strict than asked."""
