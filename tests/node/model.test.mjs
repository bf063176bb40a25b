// Receives the URL of the embedded model by the environment; hands on whether OpenAI's own client is
// content with its tool calls, forms and logprobs, whole and streamed.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.BASE_URL}/v1`,
  apiKey: "none",
  maxRetries: 0,
  timeout: 60_000,
});
const asked = {
  model: "inferneo-tiny",
  messages: [{ role: "user", content: "What is the weather in Paris?" }],
  max_tokens: 100,
  temperature: 0,
};
const parameters = {
  type: "object",
  properties: { city: { type: "string", maxLength: 20 } },
  required: ["city"],
  additionalProperties: false,
};
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const person = {
  type: "object",
  properties: { name: { type: "string", maxLength: 20 }, age: { type: "integer" } },
  required: ["name", "age"],
  additionalProperties: false,
};
const form = { type: "json_schema", json_schema: { name: "person", schema: person } };

test("a call that is forced has arguments that fit, streamed and not", async () => {
  const body = { ...asked, tools, tool_choice: "required" };
  const whole = await client.chat.completions.create(body);
  assert.equal(whole.choices[0].finish_reason, "tool_calls");
  const [call] = whole.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  assert.equal(typeof JSON.parse(call.function.arguments).city, "string");
  const streamed = await client.chat.completions.stream(body).finalChatCompletion();
  assert.deepEqual(streamed.choices[0].message.tool_calls[0].function, call.function);
});

test("the client's own loop runs a tool and gets the answer", async () => {
  const cities = [];
  const weather = ({ city }) => {
    cities.push(city);
    return '{"temperature": 21}';
  };
  const tool = { name: "get_weather", parameters, parse: JSON.parse, function: weather };
  for (const stream of [false, true]) {
    const runner = client.chat.completions.runTools({
      ...asked,
      stream,
      tools: [{ type: "function", function: tool }],
    });
    assert.match(await runner.finalContent(), /21/);
  }
  assert.deepEqual(cities, ["Paris", "Paris"]);
});

test("an answer has the form that is wanted, streamed and not", async () => {
  const messages = [{ role: "user", content: "JSON with name Anna and age 30" }];
  const body = { ...asked, messages, max_tokens: 200, response_format: form };
  const whole = await client.chat.completions.create(body);
  assert.equal(typeof JSON.parse(whole.choices[0].message.content).age, "number");
  const streamed = await client.chat.completions.stream(body).finalContent();
  assert.equal(streamed, whole.choices[0].message.content);
});

test("logprobs are told, streamed and not", async () => {
  const body = { ...asked, max_tokens: 5, logprobs: true, top_logprobs: 2 };
  const whole = (await client.chat.completions.create(body)).choices[0].logprobs.content;
  assert.equal(whole.length, 5);
  assert.ok(whole.every((entry) => entry.top_logprobs.length === 2));
  const [streamed] = (await client.chat.completions.stream(body).finalChatCompletion()).choices;
  const tokens = (entries) => entries.map((entry) => entry.token);
  assert.deepEqual(tokens(streamed.logprobs.content), tokens(whole));
});
