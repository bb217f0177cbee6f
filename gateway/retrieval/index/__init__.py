"""Where passages are found: an index in a folder of this process, by Qdrant or Faiss, or on a Qdrant server."""
