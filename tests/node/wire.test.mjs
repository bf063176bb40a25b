// Receives a server's URL and key by the environment; hands on whether the small client for Node
// streams, cancels and resumes.

import assert from "node:assert/strict";
import { test } from "node:test";

import { Client, readEvents, readFrames } from "./wire.mjs";

const { BASE_URL, KEY } = process.env;
const TOKENS = 30;
const END = TOKENS + 2; // behind the role, the tokens, and the finish reason
const messages = [{ role: "user", content: "Count the words." }];
const asked = { messages, max_tokens: TOKENS, ignore_eos: true, stream: true };

const client = new Client(BASE_URL, KEY);
const answer = await client.begin({ ...asked, stream: false });
const { content } = (await answer.json()).choices[0].message;

async function assertResumes(seen) {
  assert.equal(seen.last, 7);
  assert.ok(content.startsWith(seen.text) && seen.text.length < content.length);
  const { token } = await (await client.fetch("/v1/tokens", { method: "POST", body: {} })).json();
  for (const way of [{}, { token }]) {
    const socket = await client.open(way);
    socket.send({ type: "resume", id: seen.id, after: seen.last });
    const { text, last, cancelled } = await readFrames(socket, seen);
    assert.deepEqual([text, last, cancelled], [content, END, false]);
    socket.close();
  }
  const { text, last, ended } = await readEvents(await client.resume(seen), seen);
  assert.deepEqual([text, last, ended], [content, END, true]);
  assert.equal((await client.resume({ id: seen.id, last })).status, 204);
}

test("a stream comes whole over SSE", async () => {
  const { text, last, ended } = await readEvents(await client.begin(asked));
  assert.deepEqual([text, last, ended], [content, END, true]);
});

test("an answer comes whole over a WebSocket", async () => {
  const socket = await client.open();
  socket.send({ ...asked, stream: false, request_id: "whole" });
  const whole = await socket.next();
  assert.deepEqual([whole.request_id, whole.choices[0].message.content], ["whole", content]);
  socket.send({ ...asked, resume_for: 30 });
  const { text, last, ended } = await readFrames(socket);
  assert.deepEqual([text, last, ended], [content, END, true]);
  socket.close();
});

test("what was begun over SSE goes on over SSE and over a WebSocket", async () => {
  await assertResumes(await readEvents(await client.begin(asked), undefined, { leaveAt: 7 }));
});

test("what was begun over a WebSocket goes on over SSE and over a WebSocket", async () => {
  const socket = await client.open();
  socket.send({ ...asked, resume_for: 30 });
  const seen = await readFrames(socket, undefined, { leaveAt: 7 });
  socket.close();
  await assertResumes(seen);
});

test("a stream is cancelled over SSE", async () => {
  const response = await client.begin(asked);
  await client.cancel(response.headers.get("inferneo-stream").split("/").at(-1));
  await assert.rejects(readEvents(response), { message: "cancelled" });
});

test("a request is cancelled over a WebSocket", async () => {
  const socket = await client.open();
  socket.send({ ...asked, request_id: 1 });
  socket.send({ type: "cancel", request_id: 1 });
  assert.equal((await readFrames(socket)).cancelled, true);
  socket.close();
});
