"""Simplex: the flow of one loss on three tokens, as a picture takes it."""
