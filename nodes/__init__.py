"""What runs on a device: engines that generate text, and the worker that serves them to the mesh."""
