"""The HTTP side of the mesh: OpenAI's chat API, models, tasks and health, over aiohttp."""
