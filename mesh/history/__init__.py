"""Reading whole streams: from their first event or a snapshot, and on live."""
