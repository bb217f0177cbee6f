"""What an account has used and what that cost, as the ledger has added it up."""
