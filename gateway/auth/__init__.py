"""Who asks over HTTP and websocket: signing in with a wallet or a DID, and the callers that come of it."""
