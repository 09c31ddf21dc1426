"""The command: parses, builds and serves; decides nothing."""
