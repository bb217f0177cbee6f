"""Personal data and secrets in what goes to a provider outside: recognised, replaced by placeholders, and put back."""
