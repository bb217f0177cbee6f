"""One dispatcher: takes tasks of every class, keeps a life going for each, and hears what nodes and users say of them.

Any number of dispatchers share the work; each holds its tasks un-acked, so a dead one's tasks move on by themselves.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from gateway.dispatcher import gate, retrying, serving
from gateway.dispatcher.backlog import BacklogReports
from gateway.dispatcher.cancelling import Cancelling
from gateway.dispatcher.holds import LedgerAway
from gateway.dispatcher.life import TaskLife
from gateway.dispatcher.node_reports import NodeReports
from gateway.dispatcher.overflow import Overflow, Waiting
from gateway.dispatcher.placer import Placer
from gateway.dispatcher.regards import Regards
from gateway.dispatcher.result_check import ResultCheck
from gateway.dispatcher.serving import Serving
from gateway.dispatcher.spot_checks import Checks, SpotChecks
from gateway.dispatcher.task_run import Verdict, failed
from gateway.intake.demands import inability
from gateway.scheduling.policies import POLICIES
from mesh.bus.work import WorkQueue
from mesh.errors import BusError, PublishRefused, WrittenByNewer
from mesh.identity.device_log import DeviceLog
from mesh.telemetry.names import ATTRIBUTE_CLASS, TASKS_HELD
from mesh.telemetry.telemetry import Telemetry
from streams import subjects
from streams.clock import now_ms
from streams.codec import encode
from streams.consumers import consumer_name
from streams.errors import StreamsError
from streams.events import SubmissionUnreadable, TaskError, TaskSubmitted
from streams.messages import is_about
from streams.tokens import Token
from streams.topology import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping

    from gateway.dispatcher.entrance import Entrance
    from gateway.dispatcher.settings import DispatcherSettings
    from gateway.roster.feed import RosterFeed
    from mesh.bus.service_bus import Bus
    from mesh.bus.work import Work
    from mesh.history.snapshots import SnapshotStore
    from streams.devices.roster import NodeView
    from streams.messages import Running
    from streams.subjects import TaskKey

    _Listed = dict[tuple[Token, str], list[Running]]

log = logging.getLogger(__name__)

_TICK_S: Final = 0.5
_FAULT_PAUSE: Final = timedelta(seconds=1)
"""After a fault of our own: a task that meets it each time must not keep everybody busy."""

_UNREADABLE_PAUSE: Final = timedelta(seconds=30)
"""Before a task is offered again that a newer dispatcher has gone on with."""

_REPORT_GRACE_S: Final = 5.0
"""How long a live node may go without listing a task that it was given."""


class Dispatcher:
    """Runs until stopped. ``start`` after the roster feed has started."""

    def __init__(
        self,
        bus: Bus,
        feed: RosterFeed,
        settings: DispatcherSettings,
        *,
        entrance: Entrance,
        retention: timedelta,
        telemetry: Telemetry | None = None,
        snapshots: SnapshotStore | None = None,
    ) -> None:
        """Prepare; ``retention`` is how long the mesh keeps tasks: older ids are refused. ``entrance`` is ours now."""
        self._telemetry = telemetry or Telemetry.off()
        self.lives: dict[TaskKey, TaskLife] = {}
        self.name = bus.options.name
        self._bus = bus
        self._feed = feed
        self._settings = settings
        self._entrance = entrance
        self._serving = Serving(entrance, settings)
        self._retention = retention
        self.devices = DeviceLog(bus.core, snapshots)
        self.regards = Regards(bus.core, self.devices, snapshots)
        spots = SpotChecks(bus, feed, self.devices, settings.spot_checks)
        self._aliases = settings.alias_table
        self._placer = Placer(
            *(feed, self.regards.of, POLICIES[settings.policy], self._aliases),
            hedge_share=settings.hedge_share,
            hedge_after=settings.hedge_after,
        )
        self._checks = Checks(ResultCheck(self.devices, self._placer.dimensions_of), spots)
        self._reports = NodeReports(bus, self.lives, self.name)
        self._cancelling = Cancelling(bus, self.lives, self._placer.tier_of, entrance.reads)
        self._overflow = Overflow(settings.account_overflow)
        self._backlog = BacklogReports(bus.core, self.name, self.lives, self._overflow)
        self._held: Counter[tuple[Token, subjects.ServiceClass]] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._queues = [
            WorkQueue(bus.edge, TASKS, consumer_name(name), self._take, window=settings.window)
            for name in subjects.SERVICE_CLASSES
        ]
        self._ticker: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    async def start(self) -> None:
        """Begin to take tasks.

        Raises:
            BusError: if the log of devices cannot be read.
        """
        await self.devices.start()
        await self._entrance.start()
        self.regards.start()
        self._placer.start()
        await self._reports.start()
        await self._cancelling.start()
        self._unsubscribe = self._feed.subscribe(self._on_node)
        self._ticker = asyncio.create_task(self._tick(), name="dispatcher-tick")
        self._backlog.start()
        for queue in self._queues:
            await queue.start()

    async def stop(self) -> None:
        """Take no more, and hand what is held to other dispatchers; nodes go on writing meanwhile."""
        if self._ticker is not None:
            self._ticker.cancel()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for queue in self._queues:
            await queue.stop()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._backlog.stop()
        await self._reports.stop()
        await self._cancelling.stop()
        self._placer.stop()
        await self._checks.spots.stop()
        await self.regards.stop()
        await self._entrance.stop()
        await self.devices.stop()

    def _take(self, work: Work) -> None:
        try:
            submission = subjects.parse_submitted(work.subject)
        except StreamsError as error:
            self._spawn(self._keep_unreadable(work, str(error)))
            return
        if gate.is_acknowledgement(work):
            self._spawn(self._keep_unreadable(work, "an acknowledgement of the broker, led here by a reply subject"))
            return
        if submission.key in self.lives:
            # Delivered again because a keep-alive came late, or submitted again under another class: the life that
            # there is goes on and ends the task. If this is another message, it comes again and finds the end.
            work.forget()
            return
        life = TaskLife(
            self._bus,
            self._placer,
            self._settings,
            self.name,
            work,
            submission,
            self._telemetry,
            self._checks,
        )
        self.lives[submission.key] = life
        self._held[submission.key.account, submission.service_class] += 1
        # Said now, before those that were handed out with it are counted too: who came first keeps the place.
        comes_late = not self._has_room(life)
        self._telemetry.add(TASKS_HELD, 1, {ATTRIBUTE_CLASS: submission.service_class})
        self._spawn(self._live(life, work, comes_late=comes_late))

    def _spawn(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep_unreadable(self, work: Work, reason: str) -> None:
        """Keep what has no id that could be answered, and the queue moving."""
        log.error("a submission on %s cannot be served: %s", work.subject, reason)
        body = base64.b64encode(work.data).decode()
        event = SubmissionUnreadable(at_ms=now_ms(), subject=work.subject, reason=reason, body_base64=body)
        try:
            await self._bus.core.append(subjects.UNREADABLE_SUBMISSION, encode(event))
        except PublishRefused:
            log.exception("it could not be kept either")
        except BusError:
            work.hand_back()
            return
        work.done()

    async def _live(self, life: TaskLife, work: Work, *, comes_late: bool) -> None:
        try:
            asked, refused = gate.read_submission(work), None
            if isinstance(asked, TaskSubmitted):
                refused = await self._check(life, work, asked)
                asked = self._entrance.capped(work, life.record.key, asked, self._settings.deadline)
            may_wait = comes_late and refused is None
            if may_wait and isinstance(asked, TaskSubmitted) and await self._is_too_much(life, asked):
                refused = self._set_aside(life, asked)
                if refused is None:
                    return
            await self._serving.serve(life, work, asked, refused)
            self._backlog.note_end(life.asked.model, life.service_class)
        except BusError as error:
            log.warning("task %s goes back to the queue: %s", life.record.key.task, error)
            work.hand_back()
        except LedgerAway as error:
            # Nobody sits and waits for it.
            log.warning("task %s goes back to the queue: %s", life.record.key.task, error)
            life.set_aside(serving.LEDGER_PAUSE)
        except WrittenByNewer as error:
            log.error("%s; until then the task waits for a dispatcher that can read it", error)
            work.hand_back(_UNREADABLE_PAUSE)
        except Exception:
            log.exception("task %s goes back to the queue", life.record.key.task)
            work.hand_back(_FAULT_PAUSE)
        finally:
            self.lives.pop(life.record.key, None)
            self._let_go(life.record.key.account, life.service_class)
            self._telemetry.add(TASKS_HELD, -1, {ATTRIBUTE_CLASS: life.service_class})
            life.over.set()

    def _let_go(self, account: Token, service_class: subjects.ServiceClass) -> None:
        self._held[account, service_class] -= 1
        if not self._held[account, service_class]:
            del self._held[account, service_class]

    async def _check(self, life: TaskLife, work: Work, asked: TaskSubmitted) -> TaskError | None:
        account = life.record.key.account
        if (closed := self._entrance.account_error(account)) is not None:
            return closed
        if (foreign := await self._entrance.key_error(work, account, asked)) is not None:
            return foreign
        if self._wrong(life, asked) is None and self._cannot(life, work, asked) is None:
            return None
        # What a node announced a moment ago may not have come here yet, and nobody is refused for that.
        await self._feed.models.catch_up()
        if (wrong := self._wrong(life, asked)) is not None:
            return wrong
        cannot = self._cannot(life, work, asked)
        # What was begun goes on, if only to wait for a node that is gone.
        return None if cannot is None or await life.has_begun() else cannot

    def _wrong(self, life: TaskLife, asked: TaskSubmitted) -> TaskError | None:
        key, at_ms = life.record.key, now_ms()
        return gate.check_submission(key, asked, now_ms=at_ms, retention=self._retention, is_known=self._is_known)

    def _cannot(self, life: TaskLife, work: Work, asked: TaskSubmitted) -> TaskError | None:
        beyond = self._entrance.bounds_error(work, life.record.key, asked)
        return beyond or inability(asked, self._feed.roster, self._aliases)

    def _has_room(self, life: TaskLife) -> bool:
        """Whether all that is held of the account, this task included, is within what one account may have here."""
        return self._held[life.record.key.account, life.service_class] <= self._settings.account_limit

    async def _is_too_much(self, life: TaskLife, asked: TaskSubmitted) -> bool:
        """Whether the account has its fill here, and nobody has begun this task; what is late only has to end."""
        if self._has_room(life):
            return False
        left = gate.time_left(life.record.key.task, asked, default=self._settings.deadline)
        return left > timedelta(0) and not await life.has_begun()

    def _set_aside(self, life: TaskLife, asked: TaskSubmitted) -> TaskError | None:
        """Let the task come again later; returns why not, where far too many wait like this already."""
        account, service_class = life.record.key.account, life.service_class
        if not self._overflow.has_room(account, service_class):
            most = self._settings.account_limit + self._settings.account_overflow
            return gate.too_many_error(service_class, most, retry_after_s=self._backlog.retry_after_s(service_class))
        region = None if asked.rules is None else asked.rules.region
        waiting = Waiting(account, service_class, asked.model, region)
        left = gate.time_left(life.record.key.task, asked, default=self._settings.deadline)
        life.set_aside(self._overflow.add(waiting, longest=left))
        return None

    def _is_known(self, model: str) -> bool:
        return self._feed.roster.knows(model) or model in self._settings.known_models or model in self._aliases

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            with contextlib.suppress(StreamsError):
                self._look()

    def _look(self) -> None:
        """See to deadlines, lost nodes, and orders that went astray."""
        now = now_ms()
        nodes = {view.node: view for view in self._feed.roster.nodes(now_s=self._feed.now_s())}
        listed = _listed(nodes.values())
        for life in tuple(self.lives.values()):
            if life.deadline_at_ms and now > life.deadline_at_ms:
                life.record.decide(Verdict(kind="deadline"))
            elif life.posting.node is not None:
                self._look_at_node(life, nodes.get(Token(life.posting.node)), listed)
                _look_at_second(life, nodes)

    def _on_node(self, name: str) -> None:
        """Move the tasks of a node at once when the log says that it is lost, instead of at the next tick."""
        view = self._feed.roster.node(Token(name), now_s=self._feed.now_s())
        if view is None or view.is_live:
            return
        for life in tuple(self.lives.values()):
            life.race.note_absence(name, None)
            if life.posting.node == name:
                life.record.decide(_absence(life, view))

    def _look_at_node(self, life: TaskLife, view: NodeView | None, listed: _Listed) -> None:
        if view is None or not view.is_live:
            life.record.decide(_absence(life, view))
            return
        status = view.status
        if status is not None and life.posting.is_forgotten_by(status.process):
            life.record.decide(failed(retrying.NODE_LOST, f"{view.node} was started again"))
            return
        key = life.record.key
        entry = next((entry for entry in listed.get((view.node, key.task), ()) if is_about(entry, key)), None)
        if entry is None and life.posting.unlisted_for_s() > _REPORT_GRACE_S:
            self._reports.look_again(life)
        elif entry is not None and life.posting.stands_still_for_s(entry.tokens) > self._settings.stall.total_seconds():
            life.record.decide(failed("node_stalled", f"{view.node} has written nothing for {self._settings.stall}"))


def _listed(nodes: Iterable[NodeView]) -> _Listed:
    """What the nodes say that they run, by node and task id."""
    listed: _Listed = {}
    for view in nodes:
        for entry in view.status.running if view.status is not None else ():
            listed.setdefault((view.node, entry.task), []).append(entry)
    return listed


def _look_at_second(life: TaskLife, nodes: Mapping[Token, NodeView]) -> None:
    """See whether the node that was asked too is still there, and still knows of it."""
    if (name := life.race.second) is None:
        return
    view = nodes.get(Token(name))
    status = None if view is None or not view.is_live else view.status
    life.race.note_absence(name, None if status is None else status.process)


def _absence(life: TaskLife, view: NodeView | None) -> Verdict:
    """Tell a node that left in good order from one that was lost: the first is not counted against the task.

    Its refusal may have gone to a dispatcher that was stopping too; that it drained, or withdrew the model, is still
    to be seen.
    """
    node = life.posting.node
    if view is not None and (view.replica_of(life.model) is None or (view.status is not None and view.status.draining)):
        return failed("node_stopping", f"{node} was stopped", status=503)
    return failed(retrying.NODE_LOST, f"{node} has left the bus or does not report")
