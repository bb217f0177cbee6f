"""The model store: files of models in the Object Store of CORE, which devices reach through a service."""
