// One websocket to the gateway that comes back by itself and takes up every subscription where it stood.

import { isFinal, NOT_AUTHENTICATED, pauseMs } from "./backoff.js";

const PROTOCOL = "ig3.v1.json";
const PING_EVERY_MS = 10_000;
const SILENCE_MS = 25_000;

/**
 * @typedef {{phase: "connecting" | "live" | "waiting" | "refused" | "out", retryAtMs?: number, reason?: string}} Connection
 *
 * @typedef {{token: string, notNeeded: () => void, admitted: (frame: object) => void, turnedAway: (token: string, reason: string) => void}} Credential
 * what is shown to a gateway that asks who is there, and what it says to that
 */

export class MeshSocket {
  /**
   * @param {string} url
   * @param {Credential} credential
   * @param {{frame: (frame: object) => void, connection: (state: Connection) => void}} listener
   */
  constructor(url, credential, listener) {
    this.url = url;
    this.credential = credential;
    this.listener = listener;
    this.subscriptions = new Map();
    this.answers = new Map();
    this.nextId = 1;
    this.failures = 0;
    this.heardAtMs = 0;
    this.timer = 0;
    this.isLive = false; // Let in, and so served.
    this.shown = ""; // The credential that this connection was shown.
    this.authenticating = 0; // The id of the frame that shows it, until that is answered.
    this.trouble = "";
    setInterval(() => this.#ping(), PING_EVERY_MS);
    addEventListener("online", () => this.#hurry());
    document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
  }

  connect() {
    clearTimeout(this.timer);
    this.#drop();
    this.listener.connection({ phase: "connecting" });
    this.socket = new WebSocket(this.url, [PROTOCOL]);
    // Silence begins here: for how long there was no connection is not the gateway's.
    this.socket.onopen = () => (this.heardAtMs = Date.now());
    this.socket.onmessage = (message) => this.#onFrame(JSON.parse(message.data));
    this.socket.onclose = (event) => this.#onClose(event);
  }

  /** Show who is there now: on this connection if it stands, else on a new one. */
  authenticate() {
    const open = this.socket?.readyState === WebSocket.OPEN;
    if (open) this.#authenticate();
    else if (this.socket?.readyState !== WebSocket.CONNECTING) this.connect();
  }

  /** Leave, and stay away until `authenticate` or `connect`. */
  disconnect() {
    this.#end({ phase: "out" });
  }

  /** Forget how far tasks were followed, and follow none. */
  forgetTasks() {
    for (const [key, { task }] of this.subscriptions) if (task) this.subscriptions.delete(key);
  }

  /** Subscribe, now or as soon as there is a connection, and again after each drop. */
  subscribe(topic, task = undefined, after = 0) {
    const key = task ?? topic;
    if (this.subscriptions.has(key)) return;
    this.subscriptions.set(key, { topic, task, after });
    if (this.isLive) this.#send({ type: "subscribe", ...this.subscriptions.get(key) });
  }

  unsubscribe(topic, task = undefined) {
    if (this.subscriptions.delete(task ?? topic) && this.isLive) this.#send({ type: "unsubscribe", topic, task });
  }

  /** End a task; resolves with how it ended. */
  cancel(task) {
    return new Promise((resolve, reject) => {
      const id = this.isLive ? this.#send({ type: "cancel", task }) : 0;
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
    if (frame.type === "hello") this.#onHello(frame);
    else if (frame.type === "authenticated") this.#onAuthenticated(frame);
    else if (frame.type === "error" && frame.id === this.authenticating) return this.#onNotAuthenticated(frame);
    else if (frame.type === "events" && frame.topic === "task") this.#remember(frame.events);
    else if (frame.type === "over") this.subscriptions.delete(frame.task);
    else if (frame.type === "cancelled" || frame.type === "error") this.#settle(frame);
    this.listener.frame(frame);
  }

  #onHello({ account }) {
    if (account) {
      this.credential.notNeeded();
      this.#onLive();
    } else if (this.credential.token) this.#authenticate();
    else this.#turnedAway("");
  }

  #authenticate() {
    this.shown = this.credential.token;
    this.authenticating = this.#send({ type: "authenticate", token: this.shown });
  }

  #onAuthenticated(frame) {
    this.authenticating = 0;
    this.credential.admitted(frame);
    if (!this.isLive) this.#onLive();
  }

  /** A refusal is final, and trouble passes: then the same is shown again on the next connection. */
  #onNotAuthenticated({ code, message }) {
    if (code === "not_authenticated") return this.#turnedAway(message);
    this.trouble = message;
    this.socket.close();
  }

  #turnedAway(reason) {
    const token = this.credential.token;
    const isFresh = token && token !== this.shown; // Somebody has signed in meanwhile.
    if (isFresh) this.connect();
    else this.credential.turnedAway(token, reason);
  }

  #onLive() {
    this.failures = 0;
    this.isLive = true;
    this.trouble = "";
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
    if (event.code === NOT_AUTHENTICATED) return this.#turnedAway("");
    if (isFinal(event.code)) return this.#end({ phase: "refused", reason: event.reason });
    const pause = pauseMs(event.code, this.failures++);
    this.#end({ phase: "waiting", retryAtMs: Date.now() + pause, reason: event.reason || this.trouble });
    this.timer = setTimeout(() => this.connect(), pause);
  }

  /** Be done with a connection, whether it has closed or has to. */
  #end(connection) {
    clearTimeout(this.timer);
    this.timer = 0;
    this.#drop();
    this.listener.connection(connection);
  }

  #drop() {
    this.isLive = false;
    this.authenticating = 0;
    for (const { reject } of this.answers.values()) reject(new Error("The connection was lost before the answer."));
    this.answers.clear();
    if (!this.socket) return;
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
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
