// Receives a server's URL; hands on whether a page that takes each chunk for one event can read it.

import assert from "node:assert/strict";
import { test } from "node:test";

async function streamGenerate(url, body, seen) {
  const response = await fetch(`${url}/api/v1/generate/stream`, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    seen(JSON.parse(decoder.decode(value).replace("data: ", "")));
  }
}

// Where this process gets no turn for ten milliseconds, the kernel joins what waits for it. Events
// that a server sends together are joined each time.
async function firstReadable(ask) {
  for (let tries = 5; ; tries -= 1) {
    try {
      return await ask();
    } catch (error) {
      if (tries === 1 || !(error instanceof SyntaxError)) throw error;
    }
  }
}

for (const [name, url] of [
  ["a model", process.env.BASE_URL],
  ["an engine that is as fast as can be", process.env.QUICK_URL],
]) {
  test(`each chunk of the stream of ${name} is one event`, async () => {
    const body = { prompt: "What is Inferneo?", max_tokens: 100, ignore_eos: true };
    const tokens = await firstReadable(async () => {
      const tokens = [];
      await streamGenerate(url, body, (data) => tokens.push(data));
      return tokens;
    });
    assert.ok(tokens.length > 10);
    for (const data of tokens) assert.deepEqual(Object.keys(data), ["token", "finished"]);
    assert.deepEqual(tokens.map((data) => data.finished).lastIndexOf(false), tokens.length - 2);
    assert.equal(tokens.at(-1).finished, true);
  });
}
