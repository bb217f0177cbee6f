// OpenAI's SDK for Node against a mesh with its small model: what must hold whatever the model's wit.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

import { EMBEDDING_MODEL, ENDLESS, HELLO, MODEL, SHORT_TEXTS, URL } from "./mesh.mjs";

const client = new OpenAI({ baseURL: URL, apiKey: "unused", maxRetries: 0 });

const CLOCK = {
  type: "function",
  function: {
    name: "clock",
    description: "Tell the time.",
    strict: true,
    parameters: {
      type: "object",
      properties: { zone: { enum: ["UTC", "CET"] } },
      required: ["zone"],
      additionalProperties: false,
    },
  },
};

async function all(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

test("a plain answer", async () => {
  const answer = await client.chat.completions.create({ model: MODEL, messages: HELLO, max_tokens: 8 });
  assert.equal(answer.object, "chat.completion");
  assert.ok(answer.choices[0].message.content.length > 0);
  assert.ok(answer.usage.completion_tokens <= 8);
  assert.match(answer._request_id, /^req_/);
});

test("a streamed answer, with its usage at the end", async () => {
  const chunks = await all(
    await client.chat.completions.create({
      model: MODEL,
      messages: HELLO,
      max_tokens: 8,
      stream: true,
      stream_options: { include_usage: true },
    }),
  );
  assert.equal(chunks[0].choices[0].delta.role, "assistant");
  assert.ok(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("").length > 0);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
});

test("a call of a function comes in pieces that the client puts together", async () => {
  let pieces = 0, message, id;
  // What is written while a process stands still comes in one piece.
  while (pieces < 2) {
    const runner = client.chat.completions.stream({
      model: MODEL,
      messages: [{ role: "user", content: "What time is it?" }],
      tools: [CLOCK],
      tool_choice: "required",
      parallel_tool_calls: false,
      max_tokens: 60,
    });
    pieces = 0;
    runner.on("tool_calls.function.arguments.delta", () => (pieces += 1));
    message = await runner.finalMessage();
    assert.equal(message.tool_calls.length, 1);
    const called = message.tool_calls[0].function;
    id = message.tool_calls[0].id;
    assert.equal(called.name, "clock");
    assert.ok(["UTC", "CET"].includes(JSON.parse(called.arguments).zone));
  }

  const answer = await client.chat.completions.create({
    model: MODEL,
    messages: [
      { role: "user", content: "What time is it?" },
      message,
      { role: "tool", tool_call_id: id, content: "Noon." },
    ],
    tools: [CLOCK],
    tool_choice: "none",
    max_tokens: 4,
  });
  assert.equal(answer.choices[0].message.tool_calls, undefined);
});

test("an object by zod's schema", async () => {
  const Place = z.object({ name: z.string(), kind: z.enum(["town", "village"]), people: z.number().int().min(0).max(99) });
  const answer = await client.chat.completions.parse({
    model: MODEL,
    messages: [{ role: "user", content: "Describe Bonn." }],
    response_format: zodResponseFormat(Place, "place"),
    logit_bias: SHORT_TEXTS,
    max_tokens: 100,
  });
  const { name, kind, people } = answer.choices[0].message.parsed;
  assert.equal(typeof name, "string");
  assert.ok(["town", "village"].includes(kind));
  assert.ok(Number.isInteger(people) && people >= 0 && people <= 99);
});

test("an unknown model is the client's NotFoundError", async () => {
  await assert.rejects(client.chat.completions.create({ model: "gpt-9", messages: HELLO }), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.deepEqual([error.status, error.code, error.param], [404, "model_not_found", "model"]);
    return true;
  });
});

test("a bad request is the client's BadRequestError, when streaming too", async () => {
  for (const stream of [false, true])
    await assert.rejects(
      client.chat.completions.create({ model: MODEL, messages: [], stream }),
      (error) => error instanceof OpenAI.BadRequestError && error.param === "messages",
    );
});

test("a stream that the client aborts ends, and its task is cancelled if the client has said so", async () => {
  const { data: stream, response } = await client.chat.completions
    .create(
      {
        model: MODEL,
        messages: [{ role: "user", content: "Count to a thousand." }],
        max_tokens: 1500,
        logit_bias: ENDLESS,
        stream: true,
      },
      { headers: { "x-ig3-on-disconnect": "cancel" } },
    )
    .withResponse();
  for await (const chunk of stream) if (chunk.choices[0].delta.content) break;
  stream.controller.abort();
  const task = response.headers.get("x-ig3-task");
  const ended = await (await fetch(`${URL}/tasks/${task}/events`)).text();
  assert.match(ended, /"cancelled"/);
});

test("vectors come in base64 and are numbers", async () => {
  const { data } = await client.embeddings.create({ model: EMBEDDING_MODEL, input: ["one", "two"] });
  assert.deepEqual(data.map(({ embedding }) => embedding.length), [384, 384]);
  assert.ok(Math.abs(Math.hypot(...data[0].embedding) - 1) < 1e-3);
});

test("models are listed", async () => {
  const ids = (await all(client.models.list())).map(({ id }) => id);
  assert.deepEqual(ids.sort(), [EMBEDDING_MODEL, MODEL]);
});

test("a response in the background is retrieved when it is done, and followed from where one likes", async () => {
  const asked = await client.responses.create({ model: MODEL, input: "Say hello.", max_output_tokens: 8, background: true });
  assert.ok(["queued", "in_progress"].includes(asked.status), asked.status);
  const events = await all(await client.responses.retrieve(asked.id, { stream: true }));
  const response = await client.responses.retrieve(asked.id);
  assert.ok(["completed", "incomplete"].includes(response.status), response.status);
  assert.ok(response.output_text.length > 0);
  assert.equal(events.at(-1).response.id, asked.id);
  const rest = await all(await client.responses.retrieve(asked.id, { stream: true, starting_after: 2 }));
  assert.deepEqual(rest, events.slice(3));
});
