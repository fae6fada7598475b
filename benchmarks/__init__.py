"""Benchmarks for `make bench`, which print each figure beside a reference from the same run."""
