"""Searches of parameters: requested, computed in chunks by any number of workers, and summed up."""
