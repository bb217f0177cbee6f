"""The pure core of the mesh: events, subjects, streams, and the folds that turn events into state.

Nothing here does I/O. A process that holds only this package can decode every byte the mesh ever stored
and recompute every state from it.
"""
