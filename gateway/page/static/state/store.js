// Holds the state and tells the views at most once per frame of the screen, however many tokens arrive.

import { initialState, reduce } from "./reducer.js";

export class Store {
  constructor() {
    this.state = initialState();
    this.listeners = new Set();
    this.scheduled = false;
  }

  dispatch(action) {
    this.state = reduce(this.state, { nowMs: Date.now(), ...action });
    if (this.scheduled) return;
    this.scheduled = true;
    requestAnimationFrame(() => {
      this.scheduled = false;
      for (const listener of this.listeners) listener(this.state);
    });
  }

  /** @returns {() => void} ends the subscription */
  subscribe(listener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
