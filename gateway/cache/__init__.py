"""Answers that are given again to who asks the same, and one generation for all who ask at once."""
