"""A Kalshi-shaped exchange on loopback, for the demo, the tests and the measurements.

Everything it shows is simulated and is a pure function of the seed and the instant: nothing is
stored, a restart changes nothing, and there is a past before the server was first started.

    noise -> cadence, shapes -> universe (what exists) -> hours (when it trades)
    -> prices (what it is worth) -> board (all of it as JSON) -> exchange (the REST contract)
    -> server (HTTP, faults)

Tests run it in a thread: `with running(Universe(markets=300)) as exchange: ... exchange.url`,
and `exchange.misbehave(Fault(status=503, count=2))`.
"""

from markets.simulator.faults import Fault
from markets.simulator.server import Clock, Running, running
from markets.simulator.universe import Universe

__all__ = ["Clock", "Fault", "Running", "Universe", "running"]
