"""Who is who: keys, accounts, DIDs, and the proof that somebody holds one."""
