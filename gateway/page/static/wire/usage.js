// Reading what the account has used.

import { refusalOf } from "./refused.js";

/**
 * @param {number} days how many, today included
 * @param {typeof fetch} send in the name of whoever is signed in
 * @returns {Promise<{usage: object[], costs: object[]}>} the buckets, a day each
 * @throws {Refused} if the gateway refuses
 */
export async function readUsage(days, send, signal) {
  const asked = `group_by=model&limit=${days}`;
  const [usage, costs] = await Promise.all([
    read(`/v1/usage?${asked}`, send, signal),
    read(`/v1/usage/costs?${asked}`, send, signal),
  ]);
  return { usage: usage.data, costs: costs.data };
}

async function read(path, send, signal) {
  const response = await send(path, { signal });
  if (!response.ok) throw await refusalOf(response);
  return response.json();
}
