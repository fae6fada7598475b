"""A simulated Kalshi exchange on loopback, for the demo, the tests and the benchmarks.

Everything it shows is a pure function of the seed and the instant: nothing is stored, a restart
changes nothing, and there is history from before the server was first started.

    noise -> cadence, shapes -> universe (series and events) -> hours (trading hours)
    -> prices (quotes, trades) -> board (listings as JSON) -> exchange (the REST contract)
    -> server (HTTP, faults)

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
