// What chunks of vectors say of themselves: their numbers come as 32-bit floats in base64.

const FLOAT_BYTES = 4;

/** Numbers in each vector of a chunk. */
export function dimensionsOf({ count, floats }) {
  const padding = floats.endsWith("==") ? 2 : floats.endsWith("=") ? 1 : 0;
  return ((floats.length / 4) * 3 - padding) / FLOAT_BYTES / count;
}
