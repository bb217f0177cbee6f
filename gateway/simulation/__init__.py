"""The simulator: recorded or synthetic tasks through the real scheduler, in virtual time, policy against policy.

``scenario`` says what is asked and who there is to answer, ``scenarios`` has those that are committed, ``trace`` and
``event_log`` make tasks of them, ``fleet`` and ``device`` are the nodes, ``run`` is the loop, ``tally`` counts.
Everything is drawn from the scenario's seed: no clock, no I/O but reading a log. See docs/simulation.md.
"""
