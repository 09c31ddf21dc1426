"""The version, in one place: packaging, `--version`, user agents and build information read it here."""

VERSION = "0.1.0"
