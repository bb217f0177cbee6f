"""The response cache as requests over HTTP meet it."""
