// A task's events as a story: chunks that follow each other are one episode, every marker is one of its own.

import { dimensionsOf } from "./vectors.js";

/**
 * @param {{writer: string, event: object}[]} happened in order of `n`
 * @returns {{kind: "marker" | "chunks", firstN: number, lastN: number, writer: string, event?: object, text?: string, vectors?: number, dimensions?: number, tokens?: number, finish?: string}[]}
 */
export function episodes(happened) {
  const story = [];
  for (const { writer, event } of happened) {
    const last = story.at(-1);
    if (event.type !== "task.chunk.v1") {
      story.push({ kind: "marker", firstN: event.n, lastN: event.n, writer, event });
    } else if (last?.kind === "chunks" && last.writer === writer && last.attempt === event.attempt) {
      last.lastN = event.n;
      last.text += event.text;
      last.vectors += event.vectors?.count ?? 0;
      last.tokens += event.tokens ?? 0;
      last.finish = event.finish_reason;
      last.usage = event.usage;
    } else {
      story.push(chunkEpisode(writer, event));
    }
  }
  return story;
}

function chunkEpisode(writer, event) {
  return {
    kind: "chunks",
    firstN: event.n,
    lastN: event.n,
    writer,
    attempt: event.attempt,
    text: event.text,
    vectors: event.vectors?.count ?? 0,
    dimensions: event.vectors && dimensionsOf(event.vectors),
    tokens: event.tokens ?? 0,
    finish: event.finish_reason,
    usage: event.usage,
  };
}
