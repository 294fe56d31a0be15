"""Contenders: everything that is timed, one file a kind."""
