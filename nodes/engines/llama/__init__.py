"""llama.cpp by its two bindings, and what both share."""
