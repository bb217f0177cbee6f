"""What operators look at: streams, events, and the story of a task."""
