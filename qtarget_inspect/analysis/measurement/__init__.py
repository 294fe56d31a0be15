"""Measurement: the numbers of many losses on the same tokens at once, without their targets."""
