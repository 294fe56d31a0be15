"""Benchmarks: every way to a target, timed in turn beside one softmax, and held against its goal."""
