// What the plots show: one sample a second of the last three minutes.

export const SAMPLES = 180;

/** A series without samples yet: the time axis stands, the values are unknown. */
export function emptySeries() {
  return { at: [], tokensPerS: [], running: [], waiting: [] };
}

/**
 * Add one sample; the oldest goes.
 * @param {{atS: number, tokensPerS: number | null, running: number | null, waiting: number | null}} sample null: not known then
 */
export function addSample(series, sample) {
  const add = (values, value) => [...values.slice(-(SAMPLES - 1)), value];
  return {
    at: add(series.at, sample.atS),
    tokensPerS: add(series.tokensPerS, sample.tokensPerS),
    running: add(series.running, sample.running),
    waiting: add(series.waiting, sample.waiting),
  };
}

/** Tokens per second over the last few samples, so that the figure does not flicker; null if that is unknown now. */
export function smoothRate(series, samples = 3) {
  const last = series.tokensPerS.slice(-samples).filter((value) => value !== null);
  const unknown = last.length === 0 || series.tokensPerS.at(-1) === null;
  return unknown ? null : last.reduce((sum, value) => sum + value, 0) / last.length;
}
