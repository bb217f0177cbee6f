"""The commands that ``mesh`` registers; one module each."""
