"""A simulated Kalshi exchange on loopback, for the demo, the tests and the benchmarks.

Everything it shows is a pure function of the seed and the instant: nothing is stored, a restart
changes nothing, and there is history from before the server was first started.

    noise -> cadence, shapes -> universe (series and events) -> hours (trading hours)
    -> lives, ladders, prices (what makers quote) -> orders (of takers) -> book (what is left)
    -> trades, tape -> board (listings as JSON) -> exchange (the REST contract)
    -> server (HTTP, faults)

Lifecycles and quotes move in steps of five seconds. Orders of takers come at any microsecond,
take from the best level what they print, and makers fill it again up to a minute later; a book at
an instant lacks exactly the trades created by then. Every answer is as of its own microsecond.

Tests run it in a thread, with `with running_exchange(SimulatedUniverse(markets=300)) as exchange:`
and `exchange.add_fault(Fault(status=503, count=2))`.
"""

from markets.simulator.faults import Fault
from markets.simulator.server import RunningExchange, SimulatedClock, running_exchange
from markets.simulator.universe import SimulatedUniverse

__all__ = [
    "Fault",
    "RunningExchange",
    "SimulatedClock",
    "SimulatedUniverse",
    "running_exchange",
]
