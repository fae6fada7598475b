"""Run the simulated exchange without Django: `python -m markets.simulator --port 8900`."""

import sys
from argparse import ArgumentParser

from markets.simulator.server import add_arguments, run


def announce(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m markets.simulator", description=__doc__)
    add_arguments(parser)
    run(parser.parse_args(), announce)
