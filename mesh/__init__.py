"""Everything that touches the bus: the broker, connections, publishing, consuming, and the command `ig3`.

Import what you need from the modules themselves; this file stays empty so that `ig3 --help` stays quick.
"""
