"""The websocket bridge: what happens in the mesh, told to browsers and programs that do not speak NATS."""
