// Receives the URLs of servers by the environment; hands on whether OpenAI's own client is content.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI, {
  APIUserAbortError,
  AuthenticationError,
  BadRequestError,
  NotFoundError,
} from "openai";

const { BASE_URL, SLOW_URL, KEYED_URL, KEY } = process.env;
const POLL_MS = 30_000;

const connect = (url, apiKey = "none") =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, timeout: 60_000 });

const client = connect(BASE_URL);
const model = "inferneo-tiny";
const asked = {
  model,
  messages: [{ role: "user", content: "What is Inferneo?" }],
  max_tokens: 8,
  temperature: 0,
  ignore_eos: true,
};

async function gather(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

async function running(url) {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^inferneo_choices_running (\S+)$/m.exec(text)[1]);
}

async function waitRunning(url, choices) {
  const deadline = Date.now() + POLL_MS;
  while ((await running(url)) !== choices) {
    assert.ok(Date.now() < deadline, `never just ${choices} running`);
  }
}

test("a chat answer is whole", async () => {
  const answer = await client.chat.completions.create(asked);
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.choices.length, 1);
  assert.equal(answer.choices[0].message.role, "assistant");
  assert.equal(answer.choices[0].finish_reason, "length");
  assert.equal(answer.usage.completion_tokens, 8);
  assert.ok(answer._request_id);
});

test("a streamed chat answer begins with the role, ends, and joins to the whole one", async () => {
  const whole = await client.chat.completions.create(asked);
  const chunks = await gather(await client.chat.completions.create({ ...asked, stream: true }));
  assert.deepEqual(chunks[0].choices[0].delta, { role: "assistant", content: "" });
  const text = chunks.map((chunk) => chunk.choices[0].delta.content ?? "").join("");
  assert.equal(text, whole.choices[0].message.content);
  const reasons = chunks.map((chunk) => chunk.choices[0].finish_reason);
  assert.deepEqual(reasons, [...Array(chunks.length - 1).fill(null), "length"]);
  assert.ok(chunks.every((chunk) => chunk.usage === undefined));
});

test("a stream that was asked for its usage ends with it", async () => {
  const stream = await client.chat.completions.create({
    ...asked,
    stream: true,
    stream_options: { include_usage: true },
  });
  const last = (await gather(stream)).at(-1);
  assert.deepEqual(last.choices, []);
  assert.equal(last.usage.completion_tokens, 8);
});

test("each choice is streamed under its index", async () => {
  const stream = await client.chat.completions.create({ ...asked, n: 2, stream: true });
  const ended = (await gather(stream)).map((chunk) => chunk.choices[0]);
  const ends = ended.filter((choice) => choice.finish_reason === "length");
  assert.deepEqual(ends.map((choice) => choice.index).sort(), [0, 1]);
});

test("each prompt of a text completion gets its answer", async () => {
  const answer = await client.completions.create({ model, prompt: ["One", "Two"], max_tokens: 4 });
  assert.deepEqual(answer.choices.map((choice) => choice.index), [0, 1]);
});

test("a streamed text completion joins to the whole one", async () => {
  const { messages, ...options } = asked;
  const body = { ...options, prompt: "Inferneo is" };
  const whole = await client.completions.create(body);
  const chunks = await gather(await client.completions.create({ ...body, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0].text).join(""), whole.choices[0].text);
  assert.equal(chunks.at(-1).choices[0].finish_reason, "length");
});

test("models are listed and found by name", async () => {
  const listed = (await client.models.list()).data.map((each) => each.id);
  assert.deepEqual(listed, [model]);
  assert.equal((await client.models.retrieve(model)).id, model);
});

test("an unknown model is a NotFoundError", async () => {
  for (const ask of [
    () => client.models.retrieve("nobodys/model"),
    () => client.chat.completions.create({ ...asked, model: "nobodys/model" }),
  ]) {
    await assert.rejects(ask, (error) => {
      assert.ok(error instanceof NotFoundError);
      assert.equal(error.code, "model_not_found");
      assert.ok(error.requestID);
      return true;
    });
  }
});

test("a wrong type is a BadRequestError that names the field", async () => {
  await assert.rejects(
    client.chat.completions.create({ ...asked, temperature: "hot" }),
    (error) => error instanceof BadRequestError && error.param === "temperature",
  );
});

test("a prompt that does not fit is a BadRequestError", async () => {
  await assert.rejects(
    client.chat.completions.create({ ...asked, max_tokens: 1_000_000 }),
    (error) => error instanceof BadRequestError && error.code === "context_length_exceeded",
  );
});

test("a wrong key is an AuthenticationError, the right one is let in", async () => {
  await assert.rejects(
    connect(KEYED_URL, "wrong").models.list(),
    (error) => error instanceof AuthenticationError && error.code === "invalid_api_key",
  );
  assert.equal((await connect(KEYED_URL, KEY).models.list()).data.length, 1);
});

test("leaving a stream frees the engine", async () => {
  const stream = await connect(SLOW_URL).chat.completions.create({ ...asked, stream: true });
  for await (const chunk of stream) {
    assert.equal(chunk.choices[0].delta.role, "assistant");
    await waitRunning(SLOW_URL, 1);
    break;
  }
  await waitRunning(SLOW_URL, 0);
});

test("aborting a request ends it and frees the engine", async () => {
  const abort = new AbortController();
  const answer = connect(SLOW_URL).chat.completions.create(asked, { signal: abort.signal });
  const refused = assert.rejects(answer, APIUserAbortError);
  await waitRunning(SLOW_URL, 1);
  abort.abort();
  await refused;
  await waitRunning(SLOW_URL, 0);
});
