"""The gRPC API: the same tasks, rights and limits as behind HTTP, for services that want no JSON."""
