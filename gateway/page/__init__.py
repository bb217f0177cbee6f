"""The live page: static files that show the mesh at work. They talk to the gateway as any other client does."""
