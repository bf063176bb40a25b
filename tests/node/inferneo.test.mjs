// Receives a server's URL; hands on whether programs of the Inferneo API's page run against it.

import assert from "node:assert/strict";
import { test } from "node:test";

const baseUrl = `${process.env.BASE_URL}/v1`;
const model = "inferneo-tiny";
const headers = { Authorization: "Bearer your-api-key", "Content-Type": "application/json" };

async function post(path, body) {
  const response = await fetch(baseUrl + path, { method: "POST", headers, body: JSON.stringify(body) });
  return response.json();
}

test("a text is continued", async () => {
  const prompt = "Explain quantum computing";
  const answer = await post("/completions", { model, prompt, max_tokens: 40, temperature: 0.7 });
  assert.equal(typeof answer.choices[0].text, "string");
});

test("a conversation is answered", async () => {
  const messages = [{ role: "user", content: "Hello, how are you?" }];
  const answer = await post("/chat/completions", { model, messages, max_tokens: 40, temperature: 0.7 });
  assert.ok(answer.choices[0].message.content);
});

test("a WebSocket brings chunks until the answer is done", async () => {
  const ws = new WebSocket(baseUrl.replace("http", "ws") + "/chat/completions");
  const texts = [];
  const done = new Promise((resolve, reject) => {
    ws.onerror = reject;
    ws.onmessage = (event) => {
      const data = JSON.parse(event.data);
      if (data.choices && data.choices[0].delta.content) texts.push(data.choices[0].delta.content);
      if (data.object === "chat.completion.done") resolve();
    };
  });
  ws.onopen = () => {
    const messages = [{ role: "user", content: "Tell me a story" }];
    ws.send(JSON.stringify({ model, messages, stream: true }));
  };
  await done;
  ws.close();
  assert.ok(texts.join("").length > 0);
});
