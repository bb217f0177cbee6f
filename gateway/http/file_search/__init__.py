"""OpenAI's ``file_search``: passages of files are found before a model answers, and the answer cites them."""
