"""Go's text/template, as far as promtail's stages use it: compiled once, run on every line."""
