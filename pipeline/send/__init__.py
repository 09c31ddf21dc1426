"""What senders share: remote write over HTTP."""
