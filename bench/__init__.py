"""Benchmarks: each prints a table and one JSON line per figure, against a named peer."""
