"""The door to the broker: one thread that talks AMQP and does nothing else.

Pika's ``SelectConnection`` on a thread of ours serves the blocking, the bulk and the asyncio interface
alike. On the caller's own event loop (pika's ``AsyncioConnection``) heartbeats would wait for whatever
the caller does there, and ``BlockingConnection`` waits for the broker's confirm after each message.

All methods with a leading underscore run on that thread; what the others share with them is handed
over by ``add_callback_threadsafe`` or guarded by the lock.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import OrderedDict, deque
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Callable, Optional, Union

import pika
from pika.adapters.select_connection import IOLoop
from pika.exceptions import AMQPError, ChannelClosedByBroker

from .errors import Closed, ConfigError, PublishError, Unreachable, UnreadableResult
from .ledger import PROVISIONAL_GRACE_S, Ledger, Reception
from .result import DIGEST_HEADER, Result, read_result
from .settings import Settings

log = logging.getLogger("jailfleet")

DAY_MS = 24 * 3_600_000
#: A quorum queue: in a cluster it is on several nodes, so that the death of one of them takes no result away
#: and this client goes on at another. The rest is as our other clients declare theirs (docs/broker.md).
REPLY_QUEUE = {
    "x-queue-type": "quorum",
    "x-overflow": "reject-publish",
    "x-dead-letter-strategy": "at-least-once",
    "x-delivery-limit": 1_000_000_000,
    "x-message-ttl": 7 * DAY_MS,
    "x-max-length": 1_000_000,
}
#: Published and not yet confirmed, all together; a single job may be larger.
UNCONFIRMED_BYTES = 32 << 20
#: Pairs of results that differ, kept for who looks.
CONFLICTS_KEPT = 1_000
_WATCH_S = 1.0


@dataclass(eq=False)
class Order:
    """A job on its way, and whoever waits for its result."""

    job_id: str
    correlation: str
    key: str
    body: bytes
    properties: Any
    future: Future[Result] = field(default_factory=Future)
    provisional: Optional[Result] = None
    refused_since: Optional[float] = None


class Door:
    """Publishes jobs with confirms and receives their results; connects again by itself."""

    def __init__(self, settings: Settings, reply: str, grace_s: float = PROVISIONAL_GRACE_S) -> None:
        self.settings = settings
        self.reply_queue = f"{settings.prefix}.reply.{reply}"
        #: What the connection is in want of; None while it is well.
        self.trouble: Optional[str] = "not connected yet"
        self.ledger = Ledger()
        #: Job ids with the result that was handed over later than another one and differs from it.
        self.conflicts: deque[Result] = deque(maxlen=CONFLICTS_KEPT)
        self._grace_s = grace_s
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._ended = False
        self._stopping = False
        self._loop = IOLoop()
        self._thread = threading.Thread(target=self._run, name="jailfleet-amqp", daemon=True)
        self._dialed: Any = None
        self._connection: Any = None
        self._publishing: Any = None
        self._reading: Any = None
        self._halves = 0
        self._failures = 0
        self._because: Optional[str] = None
        self._orders: dict[str, Order] = {}
        self._to_send: deque[Order] = deque()
        self._unconfirmed: OrderedDict[int, tuple[Order, float]] = OrderedDict()
        self._unconfirmed_bytes = 0
        self._tag = 0

    def open(self, within_s: float) -> None:
        """Starts the thread and waits until results could come.

        :raises Unreachable: with what went wrong last. The door is closed then.
        """
        self._thread.start()
        if self._ready.wait(within_s):
            return
        trouble = self.trouble
        self.close(1.0)
        raise Unreachable(
            f"could not use the broker {self.settings.redacted_uri()} within {within_s:g} s: {trouble}"
        )

    def send(self, order: Order) -> None:
        """Hands a job over to be published. While the broker is away, it waits."""
        with self._lock:
            if self._ended or self._stopping:
                raise Closed("this client is closed: make another one")
            self._orders[order.correlation] = order
            self._loop.add_callback_threadsafe(partial(self._take, order))

    def abandon(self, order: Order) -> None:
        """Nobody waits for this job any more."""
        self._call(partial(self._forget, order))

    def close(self, within_s: float) -> None:
        """Deletes the reply queue if it is empty, and disconnects. Who still waits gets `Closed`."""
        self._call(self._stop)
        self._thread.join(within_s)
        if self._thread.is_alive():
            self._call(self._loop.stop)
            self._thread.join(1.0)

    def _call(self, action: Callable[[], None]) -> None:
        with self._lock:
            if not self._ended:
                self._loop.add_callback_threadsafe(action)

    # The thread, and its one connection at a time.

    def _run(self) -> None:
        try:
            self._connect()
            self._loop.call_later(_WATCH_S, self._watch)
            self._loop.start()
        except Exception:
            log.exception("the thread of the broker's connection ended")
            self.trouble = "the connection's thread ended; see the log"
        finally:
            with self._lock:
                self._ended = True
                left = list(self._orders.values())
                self._orders.clear()
            self._ready.clear()
            for order in left:
                _finish(order, Closed("the client was closed before the result came"))
            self._loop.close()

    def _connect(self) -> None:
        if self._stopping:
            self._loop.stop()
            return
        try:
            self._dialed = pika.SelectConnection(
                self.settings.parameters(),
                on_open_callback=self._opened,
                on_open_error_callback=lambda _connection, error: self._lost(error),
                on_close_callback=lambda _connection, reason: self._lost(reason),
                custom_ioloop=self._loop,
            )
        except (ConfigError, AMQPError, OSError) as error:
            self._lost(error)

    def _opened(self, connection: Any) -> None:
        self._connection, self._halves = connection, 0
        connection.add_on_connection_blocked_callback(self._blocked)
        connection.add_on_connection_unblocked_callback(self._unblocked)
        connection.channel(on_open_callback=self._publishing_opened)
        connection.channel(on_open_callback=self._reading_opened)

    def _lost(self, reason: Union[BaseException, str]) -> None:
        """The connection is over, or did not come about."""
        was_ready = self._ready.is_set()
        self._ready.clear()
        self._dialed = self._connection = self._publishing = self._reading = None
        # What the broker has not confirmed is published again, under the same id and secret: the
        # workers know a job that they have already, and we know a result that we have.
        again = [order for order, _ in self._unconfirmed.values() if not order.future.done()]
        self._to_send.extendleft(reversed(again))
        self._unconfirmed.clear()
        self._unconfirmed_bytes = 0
        if self._stopping:
            self._loop.stop()
            return
        self.trouble = self._words(self._because or reason)
        self._because = None
        self._failures = 0 if was_ready else self._failures + 1
        settings = self.settings
        most_ms = min(settings.backoff_max_ms, settings.backoff_min_ms << min(self._failures, 16))
        # Spread, so that all clients of a broker that comes back do not come at once.
        pause_ms = most_ms * random.uniform(0.5, 1.0)  # noqa: S311
        log.warning("no connection to %s: %s", settings.redacted_uri(), self.trouble)
        self._loop.call_later(pause_ms / 1000, self._connect)

    def _words(self, reason: Union[BaseException, str]) -> str:
        text = reason if isinstance(reason, str) else str(reason) or repr(reason)
        try:
            return self.settings.address().scrubbed(text)
        except ConfigError:
            return type(reason).__name__ if isinstance(reason, AMQPError) else text

    def _blocked(self, _connection: Any, _method: Any) -> None:
        self.trouble = "the broker lacks memory or disk and takes no messages for now"
        log.warning("%s", self.trouble)

    def _unblocked(self, _connection: Any, _method: Any) -> None:
        self.trouble = None
        # While it took nothing it could confirm nothing: that was no silence of its own.
        now = time.monotonic()
        self._unconfirmed = OrderedDict((tag, (order, now)) for tag, (order, _) in self._unconfirmed.items())

    def _drop_session(self, because: str) -> None:
        self._because = because
        self._hang_up()

    def _watch(self) -> None:
        """Once a second: a broker that does not confirm is given up."""
        self._loop.call_later(_WATCH_S, self._watch)
        limit_s = self.settings.confirm_timeout_ms / 1000
        for _, since in self._unconfirmed.values():
            if time.monotonic() - since > limit_s and self.trouble is None:
                self._drop_session(f"the broker confirmed nothing within {limit_s:g} s")
            break

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
        if self._dialed is None:
            self._loop.stop()
        elif self._connection is None or self._reading is None or not self._reading.is_open:
            self._hang_up()
        else:
            # RabbitMQ closes the connection of who asks it to delete a quorum queue if it is empty. So we
            # look first; what is delivered to us is acked at once and is not in it any more.
            self._reading.queue_declare(self.reply_queue, passive=True, callback=self._seen_at_the_end)

    def _seen_at_the_end(self, declared: Any) -> None:
        if declared.method.message_count > 0 or self._reading is None or not self._reading.is_open:
            self._hang_up()
        else:
            self._reading.queue_delete(self.reply_queue, callback=lambda _: self._hang_up())

    def _hang_up(self) -> None:
        # One that is closing already needs no second word.
        if self._dialed is not None and not (self._dialed.is_closing or self._dialed.is_closed):
            self._dialed.close()

    # Both channels.

    def _half_ready(self) -> None:
        self._halves += 1
        if self._halves == 2:
            self.trouble, self._failures = None, 0
            self._ready.set()
            self._pump()

    def _channel_closed(self, channel: Any, reason: BaseException) -> None:
        if not isinstance(reason, ChannelClosedByBroker):
            return  # The connection is closing, and _lost comes.
        if self._stopping:
            self._hang_up()
            return
        words = f"the broker said {reason.reply_code} {reason.reply_text}"
        if reason.reply_code == 404 and "no exchange" in str(reason.reply_text):
            words += "; start a worker once, or import the definitions of docs/broker.md"
        elif reason.reply_code == 403:
            words += "; docs/broker.md has the rights that a producer needs"
        if channel is self._publishing and reason.reply_code in (403, 404):
            # It would be the same again for each of them.
            waiting = [order for order, _ in self._unconfirmed.values()] + list(self._to_send)
            self._to_send.clear()
            for order in waiting:
                self._fail(order, PublishError(order.job_id, words))
        self._drop_session(words)

    # Publishing.

    def _publishing_opened(self, channel: Any) -> None:
        self._publishing, self._tag = channel, 0
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_return_callback(self._returned)
        channel.confirm_delivery(self._confirmed, callback=lambda _: self._half_ready())

    def _take(self, order: Order) -> None:
        if order.correlation in self._orders:
            self.ledger.expect(order.job_id, order.correlation)
            self._to_send.append(order)
            self._pump()

    def _pump(self) -> None:
        """Publishes what waits, as far as the window lets it."""
        channel = self._publishing
        while self._to_send and self._ready.is_set() and channel is not None and channel.is_open:
            full = self._unconfirmed_bytes + len(self._to_send[0].body) > UNCONFIRMED_BYTES
            if len(self._unconfirmed) >= self.settings.window or (full and self._unconfirmed):
                return
            order = self._to_send.popleft()
            if order.future.done():
                continue
            self._tag += 1
            self._unconfirmed[self._tag] = (order, time.monotonic())
            self._unconfirmed_bytes += len(order.body)
            # Mandatory, for a broker whose jobs exchange somebody made without an alternate.
            channel.basic_publish(
                exchange=f"{self.settings.prefix}.jobs",
                routing_key=order.key,
                body=order.body,
                properties=order.properties,
                mandatory=True,
            )

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        taken = isinstance(method, pika.spec.Basic.Ack)
        while self._unconfirmed:
            tag = next(iter(self._unconfirmed))
            if method.multiple and tag > method.delivery_tag:
                break
            if not method.multiple:
                tag = method.delivery_tag
            order, _ = self._unconfirmed.pop(tag, (None, 0.0))
            if order is not None:
                self._unconfirmed_bytes -= len(order.body)
                if not taken:
                    self._refused(order)
            if not method.multiple:
                break
        self._pump()

    def _refused(self, order: Order) -> None:
        """A full queue refuses. It is tried again for a while: that is what queues are for."""
        now = time.monotonic()
        order.refused_since = order.refused_since or now
        if now - order.refused_since > self.settings.confirm_timeout_ms / 1000:
            self._fail(order, PublishError(order.job_id, "its queue is full and refuses it"))
        else:
            self._loop.call_later(random.uniform(0.5, 1.5), partial(self._again, order))  # noqa: S311

    def _again(self, order: Order) -> None:
        self._to_send.append(order)
        self._pump()

    def _returned(self, _channel: Any, method: Any, properties: Any, _body: bytes) -> None:
        order = self._orders.get(properties.correlation_id)
        if order is not None:
            words = f"no queue takes {method.routing_key!r}: is there such a pool and lane?"
            self._fail(order, PublishError(order.job_id, words))

    # Receiving.

    def _reading_opened(self, channel: Any) -> None:
        self._reading = channel
        channel.add_on_close_callback(self._channel_closed)
        channel.add_on_cancel_callback(
            lambda _: self._drop_session(f"somebody deleted the queue {self.reply_queue}")
        )
        channel.basic_qos(prefetch_count=self.settings.prefetch)
        # Durable, and no x-expires: that would delete results unread.
        lost = {"x-dead-letter-exchange": f"{self.settings.prefix}.results.lost"}
        channel.queue_declare(
            self.reply_queue,
            durable=True,
            arguments={**REPLY_QUEUE, **lost},
            callback=lambda _: self._bind(channel),
        )

    def _bind(self, channel: Any) -> None:
        if self.settings.reply_mode == "exchange":
            channel.queue_bind(
                self.reply_queue,
                f"{self.settings.prefix}.results",
                self.reply_queue,
                callback=lambda _: self._consume(channel),
            )
        else:
            self._consume(channel)

    def _consume(self, channel: Any) -> None:
        channel.basic_consume(self.reply_queue, self._arrived, callback=lambda _: self._half_ready())

    def _arrived(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        correlation = properties.correlation_id
        order = self._orders.get(correlation) if correlation else None
        try:
            sent = (properties.headers or {}).get(DIGEST_HEADER)
            result = read_result(body, sent, self.settings.result_bytes)
        except UnreadableResult as error:
            log.warning("a message in %s: %s", self.reply_queue, error)
            if order is not None:
                self._fail(order, error)
        else:
            self._judge(correlation, order, result)
        channel.basic_ack(method.delivery_tag)

    def _judge(self, correlation: Optional[str], order: Optional[Order], result: Result) -> None:
        reception = self.ledger.receive(correlation, result.job_id, result.outcome, result.digest)
        if reception is Reception.ACCEPTED and order is not None:
            self._orders.pop(order.correlation, None)
            _finish(order, result)
        elif reception is Reception.HELD and order is not None:
            order.provisional = result
            self._loop.call_later(self._grace_s, partial(self._expire, order))
        elif reception is Reception.CONFLICT:
            self.conflicts.append(result)
            log.error("two results of the job %s differ; the first one stands", result.job_id)
        elif reception is Reception.STRANGER:
            log.warning("a result in %s that answers no job of ours", self.reply_queue)

    def _expire(self, order: Order) -> None:
        if order.provisional is not None and self.ledger.expire(order.correlation):
            self._orders.pop(order.correlation, None)
            _finish(order, order.provisional)

    def _fail(self, order: Order, error: Exception) -> None:
        self.ledger.give_up(order.correlation)
        self._orders.pop(order.correlation, None)
        _finish(order, error)

    def _forget(self, order: Order) -> None:
        self.ledger.give_up(order.correlation)
        self._orders.pop(order.correlation, None)


def _finish(order: Order, what: Union[Result, Exception]) -> None:
    try:
        if isinstance(what, Exception):
            order.future.set_exception(what)
        else:
            order.future.set_result(what)
    except InvalidStateError:
        pass  # Whoever waited has cancelled it.
