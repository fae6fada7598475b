"""Annotations of a run: the probabilities, reasons, series and conditions that a strategy states
beside its orders, and the analyses of its analyzers."""
