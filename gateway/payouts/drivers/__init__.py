"""Ways by which money leaves, behind one interface (``driver``)."""
