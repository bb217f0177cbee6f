"""Placement of tasks: which node gets a task, and why. Pure: no I/O, no clock, no chance but the task's own id.

The dispatcher and the simulator drive the same objects. In virtual time::

    scheduler = Scheduler(policy=POLICIES["edge-first"], regard_of=lambda node: Regard(reputation=0.9))
    scheduler.observe(view)                        # a ``NodeView`` of the roster: announced, reported, lost, returned
    wish = Wish(model="m", seed=task, account="a", prompt_tokens=400, answer_tokens=100,
                prefix=blocks_of(messages, account="a", salt=bytes(16)))
    placement = scheduler.place(wish, now_s=now_s) # changes nothing
    if placement.node is not None:                 # else: wait, and ask again when something is released or observed
        scheduler.take(placement.node, placement.model, key, wish, now_s=now_s)
        scheduler.sent(placement.node, placement.model, key, now_s=now_s)
        ...                                        # the node answers, in whatever time the simulator's node takes
        stint = scheduler.release(placement.node, placement.model, key, now_s=later_s)
        if stint is not None: scheduler.completed(stint, usage)     # it went well: speeds are measured by it
        # or, before the release, if the node failed: scheduler.failed(placement.node, now_s=later_s)

``now_s`` is any clock that only goes forward. A node is live until ``2.5 * status.interval_s`` after ``heard_at_s``:
the simulator must observe it again by then, as reports do (one ``NodeView`` with a new ``heard_at_s``; or one long
``interval_s``). ``status.running`` lists what *other* dispatchers run there; what was given by ``take`` is counted
without it. ``NodeStatus.process`` changes where a node was started again: then what it had read is forgotten. A node
that leaves: ``is_lost=True``.

Who waits is not the scheduler's business: see ``gateway.dispatcher.fair_queue`` and ``Placer`` for how tickets wait.
Policies are values (``gateway.scheduling.policies``): compare them by giving each scheduler one. Baselines for
comparison are in ``gateway.scheduling.baselines``.
"""
