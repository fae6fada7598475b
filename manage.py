#!/usr/bin/env python
"""Django's command line, with embedded PostgreSQL and Valkey where none are configured."""

import os
import sys

from django.core.management import execute_from_command_line

from kalshi_insights import embedded


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
    with embedded.services():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
