"""The messages of KServe's predict protocol, version 2, written from proto/ig3/kserve/v2 by `make proto`."""
