"""What people look at: clusters, targets, lag, loss, dead letters, charts."""
