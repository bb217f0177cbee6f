// One websocket to the gateway that comes back by itself and takes up every subscription where it stood.

import { isFinal, pauseMs } from "./backoff.js";

const PROTOCOL = "ig3.v1.json";
const PING_EVERY_MS = 10_000;
const SILENCE_MS = 25_000;

/**
 * @typedef {{phase: "connecting" | "live" | "waiting" | "refused", retryAtMs?: number, reason?: string}} Connection
 */

export class MeshSocket {
  /**
   * @param {string} url
   * @param {{frame: (frame: object) => void, connection: (state: Connection) => void}} listener
   */
  constructor(url, listener) {
    this.url = url;
    this.listener = listener;
    this.subscriptions = new Map();
    this.answers = new Map();
    this.nextId = 1;
    this.failures = 0;
    this.heardAtMs = 0;
    this.timer = 0;
    setInterval(() => this.#ping(), PING_EVERY_MS);
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  connect() {
    clearTimeout(this.timer);
    this.listener.connection({ phase: "connecting" });
    this.socket = new WebSocket(this.url, [PROTOCOL]);
    this.socket.onmessage = (message) => this.#onFrame(JSON.parse(message.data));
    this.socket.onclose = (event) => this.#onClose(event);
  }

  /** Subscribe, now or as soon as there is a connection, and again after each drop. */
  subscribe(topic, task = undefined, after = 0) {
    const key = task ?? topic;
    if (this.subscriptions.has(key)) return;
    this.subscriptions.set(key, { topic, task, after });
    this.#send({ type: "subscribe", ...this.subscriptions.get(key) });
  }

  unsubscribe(topic, task = undefined) {
    if (this.subscriptions.delete(task ?? topic)) this.#send({ type: "unsubscribe", topic, task });
  }

  /** End a task; resolves with how it ended. */
  cancel(task) {
    return new Promise((resolve, reject) => {
      const id = this.#send({ type: "cancel", task });
      if (id === 0) reject(new Error("There is no connection to the gateway now."));
      else this.answers.set(id, { resolve, reject });
    });
  }

  #send(frame) {
    if (this.socket?.readyState !== WebSocket.OPEN) return 0;
    const id = this.nextId++;
    this.socket.send(JSON.stringify({ id, ...frame }));
    return id;
  }

  #onFrame(frame) {
    this.heardAtMs = Date.now();
    if (frame.type === "hello") this.#onHello();
    else if (frame.type === "events" && frame.topic === "task") this.#remember(frame.events);
    else if (frame.type === "over") this.subscriptions.delete(frame.task);
    else if (frame.type === "cancelled" || frame.type === "error") this.#settle(frame);
    this.listener.frame(frame);
  }

  #onHello() {
    this.failures = 0;
    this.listener.connection({ phase: "live" });
    for (const subscription of this.subscriptions.values()) this.#send({ type: "subscribe", ...subscription });
  }

  #remember(events) {
    for (const { task, event } of events) {
      const subscription = this.subscriptions.get(task);
      if (subscription) subscription.after = event.n;
    }
  }

  #settle(frame) {
    if (frame.type === "error" && frame.topic === "task" && !frame.still_subscribed) this.subscriptions.delete(frame.task);
    const answer = this.answers.get(frame.id);
    this.answers.delete(frame.id);
    if (frame.type === "error") answer?.reject(new Error(frame.message));
    else answer?.resolve(frame.outcome);
  }

  #onClose(event) {
    for (const { reject } of this.answers.values()) reject(new Error("The connection was lost before the answer."));
    this.answers.clear();
    if (isFinal(event.code)) {
      this.listener.connection({ phase: "refused", reason: event.reason });
      return;
    }
    const pause = pauseMs(event.code, this.failures++);
    this.listener.connection({ phase: "waiting", retryAtMs: Date.now() + pause, reason: event.reason });
    this.timer = setTimeout(() => this.connect(), pause);
  }

  #ping() {
    if (this.socket?.readyState !== WebSocket.OPEN) return;
    if (Date.now() - this.heardAtMs > SILENCE_MS) this.socket.close();
    else this.#send({ type: "ping" });
  }

  #hurry() {
    if (this.socket?.readyState === WebSocket.CLOSED && this.timer) this.connect();
  }
}
