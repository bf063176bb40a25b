// Receives a server's URL and a key; hands on answers, over server-sent events and over WebSockets.
// A client of a few lines, written from docs/protocol.md alone.

const textOf = (chunk) => chunk.choices[0].delta.content ?? "";

export class Client {
  constructor(url, key) {
    this.url = url;
    this.headers = { Authorization: `Bearer ${key}`, "Content-Type": "application/json" };
    this.protocols = ["inferneo", `bearer.${key}`];
  }

  async fetch(path, { method = "GET", headers = {}, body } = {}) {
    const options = { method, headers: { ...this.headers, ...headers }, body: JSON.stringify(body) };
    const response = await fetch(this.url + path, options);
    if (!response.ok) throw new Error((await response.json()).error.code);
    return response;
  }

  // A new stream that can be resumed.
  begin(body) {
    const headers = { "Inferneo-Resume-For": "30" };
    return this.fetch("/v1/chat/completions", { method: "POST", headers, body });
  }

  // The rest of a stream, of which so much has been seen.
  resume({ id, last }) {
    return this.fetch(`/v1/streams/${id}`, { headers: { "Last-Event-ID": `${id}:${last}` } });
  }

  cancel(id) {
    return this.fetch(`/v1/streams/${id}`, { method: "DELETE" });
  }

  // A socket, by the key itself or by a token.
  async open({ token } = {}) {
    const url = `${this.url.replace("http", "ws")}/v1/chat/completions`;
    const socket = token ? new WebSocket(`${url}?token=${token}`) : new WebSocket(url, this.protocols);
    const frames = [];
    let wake = () => {};
    socket.onmessage = ({ data }) => wake(frames.push(JSON.parse(data)));
    await new Promise((onopen, onerror) => Object.assign(socket, { onopen, onerror }));
    const next = async () => {
      while (!frames.length) await new Promise((resolve) => (wake = resolve));
      return frames.shift();
    };
    return { next, send: (frame) => socket.send(JSON.stringify(frame)), close: () => socket.close() };
  }
}

// What is seen of an answer over SSE: all of it, or up to an event, where the connection is left.
export async function readEvents(response, seen = { text: "" }, { leaveAt = Infinity } = {}) {
  let rest = "";
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) {
      const { id, data } = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/)));
      if (!data) continue; // a comment
      const chunk = data === "[DONE]" ? null : JSON.parse(data);
      if (chunk?.error) throw new Error(chunk.error.code);
      const [name, number] = id.split(":");
      seen = { id: name, last: Number(number), text: seen.text + (chunk ? textOf(chunk) : "") };
      if (!chunk || seen.last >= leaveAt) return { ...seen, ended: !chunk };
    }
  }
  return seen;
}

// The same over a WebSocket on which one answer comes.
export async function readFrames(socket, seen = { text: "" }, { leaveAt = Infinity } = {}) {
  for (;;) {
    const frame = await socket.next();
    if (frame.error) throw new Error(frame.error.code);
    seen = { id: frame.id, last: frame.seq, text: seen.text + (frame.choices ? textOf(frame) : "") };
    if (!frame.choices) return { ...seen, ended: true, cancelled: frame.cancelled ?? false };
    if (seen.last >= leaveAt) return seen;
  }
}
