"""Taking tasks, placing them on nodes, and seeing each of them to its one end."""
