"""Settings: what they are, where they come from, and how commands take them."""
