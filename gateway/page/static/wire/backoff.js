// When to come back after a connection ended. The codes are documented in docs/websocket.md.

export const NOT_AUTHENTICATED = 4401;
const GATEWAY_STOPPING = 1012;
const FRAME_TOO_BIG = 1009;
const FIRST_MS = 400;
const GROWTH = 1.6;
const LONGEST_MS = 6000;

/** Whether connecting again would only end the same way. */
export function isFinal(code) {
  return code === FRAME_TOO_BIG || (code >= 4400 && code < 4500);
}

/**
 * How long to wait before the next try, in milliseconds. Spread out, so that the readers of a gateway that was restarted do not
 * all come back in the same instant.
 * @param {number} failures tries in a row that came to nothing
 * @param {number} random from 0 up to 1
 */
export function pauseMs(code, failures, random = Math.random()) {
  if (code === GATEWAY_STOPPING && failures === 0) return 100 + 300 * random;
  const ceiling = Math.min(LONGEST_MS, FIRST_MS * GROWTH ** failures);
  return ceiling * (0.5 + 0.5 * random);
}
