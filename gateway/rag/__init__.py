"""``ig3 rag``: files of an account that can be searched, from a terminal."""
