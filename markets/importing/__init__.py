"""Data from files: what `importdata` reads and writes, and the tables of `importrecorded`."""
