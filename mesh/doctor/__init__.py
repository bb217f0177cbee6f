"""Whether an installation is as safe as it should be: facts are gathered first, rules over them decide."""
