"""Settings of the property tests."""

from hypothesis import settings

# No deadline per example: a busy machine is no failure. A failing example prints the blob that repeats it.
settings.register_profile("ig3", deadline=None, print_blob=True)
settings.load_profile("ig3")
