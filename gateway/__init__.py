"""Takes pushes from agents and foreign senders, proves who they are, appends to the log, then acknowledges."""
