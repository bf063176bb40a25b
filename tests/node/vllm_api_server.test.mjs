// Receives a server's URL; hands on whether a program that was written with axios runs against it.

import assert from "node:assert/strict";
import { test } from "node:test";

import axios from "axios";

const baseURL = process.env.BASE_URL;

async function chatCompletion(messages, model = "inferneo-tiny") {
  const body = { model, messages, temperature: 0.7, max_tokens: 60 };
  return (await axios.post(`${baseURL}/v1/chat/completions`, body)).data;
}

const messages = [
  { role: "system", content: "You are a helpful assistant." },
  { role: "user", content: "Explain quantum computing briefly." },
];

test("a conversation is answered", async () => {
  const result = await chatCompletion(messages);
  assert.ok(result.choices[0].message.content);
});

test("an error comes with what is wrong", async () => {
  await assert.rejects(chatCompletion(messages, "nobody"), (error) => {
    assert.equal(error.response.status, 404);
    const { message, type, code } = error.response.data.error;
    assert.deepEqual([typeof message, type, code], ["string", "invalid_request_error", "model_not_found"]);
    return true;
  });
});
