// The Vercel AI SDK against a mesh with its small model, by its provider for compatible servers and by OpenAI's own.

import assert from "node:assert/strict";
import { test } from "node:test";

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateObject, generateText, streamText, tool } from "ai";
import { z } from "zod";

import { EMBEDDING_MODEL, ENDLESS, HELLO, MODEL, URL } from "./mesh.mjs";

const mesh = createOpenAICompatible({
  name: "mesh",
  baseURL: URL,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openai = createOpenAI({ baseURL: URL, apiKey: "unused" });
const once = { maxRetries: 0 };

test("a plain answer", async () => {
  const { text, finishReason, usage } = await generateText({ model: mesh(MODEL), messages: HELLO, maxOutputTokens: 8, ...once });
  assert.ok(text.length > 0);
  assert.ok(["stop", "length"].includes(finishReason), finishReason);
  assert.ok(usage.outputTokens > 0);
});

test("a streamed answer, with its usage", async () => {
  const answer = streamText({ model: mesh(MODEL), messages: HELLO, maxOutputTokens: 8, ...once });
  let text = "";
  for await (const piece of answer.textStream) text += piece;
  assert.ok(text.length > 0);
  assert.ok((await answer.usage).outputTokens > 0);
});

test("an object by zod's schema", async () => {
  const schema = z.object({ kind: z.enum(["town", "village"]), old: z.boolean(), people: z.number().int().min(0).max(99) });
  const { object } = await generateObject({ model: mesh(MODEL), schema, prompt: "Describe Bonn.", ...once });
  assert.ok(["town", "village"].includes(object.kind));
  assert.equal(typeof object.old, "boolean");
  assert.ok(object.people >= 0 && object.people <= 99);
});

test("a streamed call is put together, checked by its schema and executed", async () => {
  // What is written while a process stands still comes in one piece.
  while ((await piecesOfACall()) < 2);
});

async function piecesOfACall() {
  const zones = [];
  const clock = tool({
    description: "Tell the time.",
    inputSchema: z.object({ zone: z.enum(["UTC", "CET"]) }),
    execute: async ({ zone }) => {
      zones.push(zone);
      return "Noon.";
    },
  });
  const answer = streamText({
    model: mesh(MODEL),
    prompt: "What time is it?",
    tools: { clock },
    toolChoice: { type: "tool", toolName: "clock" },
    maxOutputTokens: 60,
    providerOptions: { mesh: { parallel_tool_calls: false } },
    ...once,
  });
  const kinds = [];
  for await (const part of answer.fullStream) kinds.push(part.type);
  assert.equal(zones.length, 1);
  assert.ok(kinds.includes("tool-result"), kinds.join(" "));
  return kinds.filter((kind) => kind === "tool-input-delta").length;
}

test("an unknown model is the client's error, with what the mesh says", async () => {
  await assert.rejects(generateText({ model: mesh("gpt-9"), messages: HELLO, ...once }), (error) => {
    assert.ok(APICallError.isInstance(error));
    assert.equal(error.statusCode, 404);
    assert.match(error.message, /gpt-9/);
    return true;
  });
});

test("an abort ends the stream", async () => {
  const stop = new AbortController();
  const answer = streamText({
    model: mesh(MODEL),
    prompt: "Count to a thousand.",
    maxOutputTokens: 1500,
    abortSignal: stop.signal,
    headers: { "x-ig3-on-disconnect": "cancel" },
    providerOptions: { mesh: { logit_bias: ENDLESS } },
    ...once,
  });
  const kinds = [];
  for await (const part of answer.fullStream) {
    kinds.push(part.type);
    if (part.type === "text-delta") stop.abort();
  }
  assert.equal(kinds.at(-1), "abort");
});

test("vectors", async () => {
  const { embeddings } = await embedMany({ model: mesh.embeddingModel(EMBEDDING_MODEL), values: ["one", "two"], ...once });
  assert.deepEqual(embeddings.map((vector) => vector.length), [384, 384]);
});

test("the Responses API by OpenAI's provider, streamed", async () => {
  const answer = streamText({ model: openai.responses(MODEL), messages: HELLO, maxOutputTokens: 8, ...once });
  assert.ok((await answer.text).length > 0);
  assert.ok((await answer.usage).outputTokens > 0);
});
