// Where the mesh is, and what all of these tests ask with.

export const URL = `${process.env.IG3_CLIENTS_URL}/v1`;
export const MODEL = "smollm2-135m-instruct";
export const EMBEDDING_MODEL = "all-minilm-l6-v2";
export const HELLO = [{ role: "user", content: "Say hello." }];

// The double quotation mark in the model's vocabulary: made likely, it ends every text of an object early.
export const SHORT_TEXTS = { 18: 12 };

// The ends of an answer in the model's vocabulary: what never ends is not whole before it is aborted.
export const ENDLESS = { 0: -100, 2: -100 };
