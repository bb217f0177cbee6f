"""What serves users: the OpenAI API, the websocket bridge, the live page, the dispatcher and the registry."""
