"""The explorer: one self-contained HTML page for a lecture."""
