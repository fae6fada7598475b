"""Calibration of the exchange: whether its prices are right, and what buying at them returned."""
