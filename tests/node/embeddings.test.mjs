// Receives the URL of a server and its model by the environment; hands on whether OpenAI's own client
// gets vectors.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI, { BadRequestError, NotFoundError } from "openai";

const { BASE_URL, MODEL: model } = process.env;
const client = new OpenAI({
  baseURL: `${BASE_URL}/v1`,
  apiKey: "none",
  maxRetries: 0,
  timeout: 60_000,
});
const texts = ["A cat sat on the mat.", "Rates rose again", "A cat sat on the mat."];

const dot = (one, other) => one.reduce((sum, value, index) => sum + value * other[index], 0);

test("each input gets its vector, in its place", async () => {
  const answer = await client.embeddings.create({ model, input: texts });
  assert.equal(answer.object, "list");
  assert.equal(answer.model, model);
  assert.deepEqual(answer.data.map((each) => each.index), [0, 1, 2]);
  assert.ok(answer.usage.prompt_tokens > 0);
  assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens);
  const [first, second, third] = answer.data.map((each) => each.embedding);
  assert.ok(Math.abs(dot(first, first) - 1) < 1e-4);
  assert.ok(dot(first, third) > 0.9999);
  assert.ok(dot(first, second) < 0.9999);
});

test("the vectors that the client decodes are those that it is told as numbers", async () => {
  // By itself the client asks for base64.
  const decoded = await client.embeddings.create({ model, input: texts[0] });
  const told = await client.embeddings.create({
    model,
    input: texts[0],
    encoding_format: "float",
  });
  const [one, other] = [decoded, told].map((answer) => answer.data[0].embedding);
  assert.equal(one.length, other.length);
  assert.ok(dot(one, other) > 0.9999);
  const raw = await client.embeddings.create({ model, input: "a", encoding_format: "base64" });
  assert.equal(typeof raw.data[0].embedding, "string");
});

test("token ids are taken for their text", async () => {
  const { tokens } = await client.post("/tokenize", { body: { prompt: texts[0] } });
  const answer = await client.embeddings.create({ model, input: [tokens, tokens] });
  const [text] = (await client.embeddings.create({ model, input: texts[0] })).data;
  assert.ok(answer.data.every((each) => dot(each.embedding, text.embedding) > 0.9999));
  assert.equal(answer.usage.prompt_tokens, 2 * tokens.length);
});

test("what does not fit is a BadRequestError that names the field", async () => {
  for (const [fields, param] of [
    [{ input: [] }, "input"],
    [{ input: "a", dimensions: 100_000 }, "dimensions"],
    [{ input: "a", encoding_format: "int8" }, "encoding_format"],
  ]) {
    await assert.rejects(
      client.embeddings.create({ model, ...fields }),
      (error) => error instanceof BadRequestError && error.param === param,
    );
  }
});

test("an unknown model is a NotFoundError", async () => {
  await assert.rejects(
    client.embeddings.create({ model: "text-embedding-3-small", input: "a" }),
    (error) => error instanceof NotFoundError && error.code === "model_not_found",
  );
});
