"""Vector stores: files taken in, and passages found in them."""
