"""What the HTTP API is, as OpenAPI says it: made of the very types by which requests are read and answers written."""
