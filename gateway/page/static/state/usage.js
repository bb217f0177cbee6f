// What the account has used and paid, added up for the view. Money is added as whole nano units, never as floats.

const NANO = 1_000_000_000n;

/** "-1.25" as nano units. */
export function nanoOf(text) {
  const [whole, fraction = ""] = text.replace("-", "").split(".");
  const nano = BigInt(whole) * NANO + BigInt(fraction.padEnd(9, "0"));
  return text.startsWith("-") ? -nano : nano;
}

/** Nano units as people write them; nothing is rounded. */
export function decimalOf(nano) {
  const size = nano < 0n ? -nano : nano;
  const fraction = (size % NANO).toString().padStart(9, "0").replace(/0+$/, "");
  return `${nano < 0n ? "-" : ""}${size / NANO}${fraction && `.${fraction}`}`;
}

/**
 * @typedef {{requests: number, cachedAnswers: number, input: number, cached: number, output: number, costs: Record<string, bigint>}} Sum
 * @param {object[]} usage buckets of `GET /v1/usage?group_by=model`
 * @param {object[]} costs buckets of `GET /v1/usage/costs?group_by=model`
 * @returns {{days: (Sum & {start: number})[], models: (Sum & {model: string})[], total: Sum}} models by what they cost, then by tokens
 */
export function addUp(usage, costs) {
  const days = usage.map(({ start_time }) => ({ start: start_time, ...nothing() }));
  const models = new Map();
  const total = nothing();
  const sums = (place, result) => {
    if (!models.has(result.model)) models.set(result.model, { model: result.model, ...nothing() });
    return [days[place], models.get(result.model), total].filter(Boolean);
  };
  usage.forEach(({ results }, place) => results.forEach((result) => sums(place, result).forEach((sum) => addUsage(sum, result))));
  costs.forEach(({ results }, place) => results.forEach((result) => sums(place, result).forEach((sum) => addCost(sum, result))));
  return { days, models: [...models.values()].sort(dearest), total };
}

function nothing() {
  return { requests: 0, cachedAnswers: 0, input: 0, cached: 0, output: 0, costs: {} };
}

function addUsage(sum, result) {
  sum.requests += result.num_model_requests;
  sum.cachedAnswers += result.num_cached_answers;
  sum.input += result.input_tokens;
  sum.cached += result.input_cached_tokens;
  sum.output += result.output_tokens;
}

function addCost(sum, { amount }) {
  sum.costs[amount.currency] = (sum.costs[amount.currency] ?? 0n) + nanoOf(amount.value);
}

function dearest(one, other) {
  const [first, second] = [one, other].map(({ costs }) => Object.values(costs).reduce((all, each) => all + each, 0n));
  if (first !== second) return first < second ? 1 : -1;
  return other.input + other.output - (one.input + one.output);
}
