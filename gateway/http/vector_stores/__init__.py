"""OpenAI's vector stores: collections of files that can be searched."""
