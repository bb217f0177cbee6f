"""DIDs on the chain peaq: documents, where they are kept, and what they prove."""
