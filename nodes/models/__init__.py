"""Models on this device: files, and what is loaded."""
