// Receives the URL of a server by the environment; hands on whether OpenAI's own client is content
// with its responses.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI, { BadRequestError, NotFoundError } from "openai";

const { BASE_URL, SLOW_URL } = process.env;
const POLL_MS = 30_000;

const connect = (url) =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0, timeout: 60_000 });

const client = connect(BASE_URL);
const asked = {
  model: "inferneo-tiny",
  input: "What is Inferneo?",
  max_output_tokens: 8,
  temperature: 0,
  ignore_eos: true,
};

async function gather(stream) {
  const events = [];
  for await (const event of stream) events.push(event);
  return events;
}

async function waitStatus(api, id, status) {
  const deadline = Date.now() + POLL_MS;
  while ((await api.responses.retrieve(id)).status !== status) {
    assert.ok(Date.now() < deadline, `never ${status}`);
  }
}

test("a response is whole, stored, and gone when it is deleted", async () => {
  const response = await client.responses.create(asked);
  assert.equal(response.status, "incomplete");
  assert.equal(response.usage.output_tokens, 8);
  assert.ok(response.output_text);
  const stored = await client.responses.retrieve(response.id);
  assert.deepEqual(stored.output, response.output);
  await client.responses.delete(response.id);
  await assert.rejects(client.responses.retrieve(response.id), NotFoundError);
});

test("a streamed response joins to the whole one", async () => {
  const whole = await client.responses.create(asked);
  const events = await gather(await client.responses.create({ ...asked, stream: true }));
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), whole.output_text);
  assert.deepEqual(
    events.map((event) => event.sequence_number),
    events.map((_, index) => index),
  );
  const final = await client.responses.stream(asked).finalResponse();
  assert.equal(final.output_text, whole.output_text);
});

test("a conversation goes on, and its items are listed", async () => {
  const first = await client.responses.create(asked);
  const second = await client.responses.create({ ...asked, previous_response_id: first.id });
  const items = [];
  for await (const item of client.responses.inputItems.list(second.id, { order: "asc" })) {
    items.push(item);
  }
  assert.deepEqual(items.map((item) => item.role), ["user", "assistant", "user"]);
  const { model, input } = asked;
  const told = { model, input, previous_response_id: first.id };
  const counted = await client.responses.inputTokens.count(told);
  assert.equal(counted.input_tokens, second.usage.input_tokens);
});

test("a response in the background can be read again and cancelled", async () => {
  const begun = await client.responses.create({ ...asked, background: true });
  await waitStatus(client, begun.id, "incomplete");
  const slow = connect(SLOW_URL);
  const waiting = await slow.responses.create({ ...asked, background: true });
  assert.equal(waiting.status, "in_progress");
  assert.equal((await slow.responses.cancel(waiting.id)).status, "cancelled");
});

test("what does not fit is a BadRequestError that names the field", async () => {
  await assert.rejects(
    client.responses.create({ ...asked, temperature: "hot" }),
    (error) => error instanceof BadRequestError && error.param === "temperature",
  );
  await assert.rejects(
    client.responses.create({ ...asked, previous_response_id: "resp_none" }),
    (error) => error.code === "previous_response_not_found",
  );
});
