"""The words of every reading: directions (attractors, tilts), trust laws, and the pulls made of both."""
