"""Text with positions: syntax, not meaning. Pure."""
