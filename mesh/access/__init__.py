"""Who may speak for which account: following and writing ACCESS, API keys, sessions, and checking what callers show."""
