"""Strategies of one's own: files in a folder outside the package.

The site never imports one of them. A process with limits reads name and parameters, and each run
is a process of its own.
"""
