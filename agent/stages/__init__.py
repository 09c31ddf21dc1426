"""Pipeline stages, as promtail has them: what becomes of lines between an input and the buffer."""
