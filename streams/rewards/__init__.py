"""What devices are given each week for being there and for what they did: rules as data, inputs from the log, integers.

Everything here is a pure function: the same rules and the same inputs give the same amounts in every process, to the
last unit, so anybody can compute an epoch again.
"""
