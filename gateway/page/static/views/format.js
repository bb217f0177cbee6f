// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

export function count(value) {
  return whole.format(value);
}

/** Tokens per second: one decimal place only where it says something. */
export function rate(value) {
  return value >= 100 ? whole.format(value) : short.format(value);
}

export function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = value > 0 ? Math.min(units.length - 1, Math.floor(Math.log2(value) / 10)) : 0;
  return `${short.format(value / 1024 ** power)} ${units[power]}`;
}

export function duration(ms) {
  if (ms < 1000) return `${whole.format(Math.max(0, ms))} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} days`;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
}

/** How long after another moment something happened, as in "+1.204 s". */
export function offset(ms) {
  return `+${(ms / 1000).toFixed(3)} s`;
}

export function plural(number, one, many = `${one}s`) {
  return `${count(number)} ${number === 1 ? one : many}`;
}

/** How many vectors there are, and how long they are. */
export function vectors({ vectors: number, dimensions }) {
  return `${plural(number, "vector")} of ${plural(dimensions, "number")}`;
}

/** The end of an id, where it differs from its neighbours: the beginning is only the time. */
export function shortId(task) {
  return task.slice(-8);
}

/** A DID or the name of a key without its middle: `0x5aAe…eAed`. */
export function shortName(name) {
  const own = name.startsWith("did:") ? name.split(":").at(-1) : name;
  return own.length > 18 ? `${own.slice(0, 8)}…${own.slice(-4)}` : own;
}
