import { useEffect, useState } from "preact/hooks";

/** Whole seconds until a moment, counted down; 0 without one. */
export function useSecondsUntil(atMs) {
  const [nowMs, setNowMs] = useState(Date.now());
  useEffect(() => {
    if (!atMs) return undefined;
    const timer = setInterval(() => setNowMs(Date.now()), 250);
    return () => clearInterval(timer);
  }, [atMs]);
  return atMs ? Math.ceil((atMs - nowMs) / 1000) : 0;
}
