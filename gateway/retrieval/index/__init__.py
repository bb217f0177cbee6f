"""Where passages are found: an index in a folder of this process, or on a Qdrant server."""
