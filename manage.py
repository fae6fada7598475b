#!/usr/bin/env python
"""Django's command line, with embedded PostgreSQL and Valkey where none are configured."""

import os
import sys

from django.core.management import execute_from_command_line
from django.db import ProgrammingError
from psycopg.errors import UndefinedColumn, UndefinedTable

from kalshi_insights import embedded


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kalshi_insights.settings")
    try:
        with embedded.services():
            execute_from_command_line(sys.argv)
    except embedded.EmbeddedError as error:
        sys.exit(str(error))
    except ProgrammingError as error:
        if not isinstance(error.__cause__, (UndefinedTable, UndefinedColumn)):
            raise
        missing = str(error.__cause__).partition("\n")[0]
        sys.exit(f"The database is not up to date, run manage.py migrate first: {missing}")


if __name__ == "__main__":
    main()
