// Receives a request; hands on its answer as it is written, over a WebSocket that is opened again,
// and resumed, when it breaks. The wire is described in docs/protocol.md.

const RESUME_SECONDS = 120;
const ATTEMPTS = 8;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 4000;
const CONNECT_MS = 5000;
const SILENCE_MS = 5000;
const CANCEL_MS = 3000;

/** The socket could not be opened, or has closed. */
class ConnectionLost extends Error {}

/** The rest of the answer cannot be had: not now, or, where `gone`, not any more. */
export class StreamLost extends Error {
  constructor(message, {gone}) {
    super(message);
    this.gone = gone;
  }
}

/** The server does not know the key, or wants one. */
export class KeyRefused extends Error {}

/** The server has refused or given up the request; `code` is for programs. */
export class RequestFailed extends Error {
  constructor({message, code}) {
    super(message);
    this.code = code;
  }
}

/** What a request needs to be sent again, or its answer to be resumed, after a reload too. */
export function ticket(request) {
  return {request, requestId: randomId(), id: null, seq: null};
}

function randomId() {
  // `crypto.randomUUID` is missing where a page is not served over https.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** One request on its way; `stop` may be called at any time. */
export class Run {
  /**
   * @param ticket changes as the answer goes on.
   * @param on.sent called when the request, or that for its rest, has gone out.
   * @param on.text called with each piece of the answer.
   * @param on.reconnecting called with the number of the attempt, and of how many.
   * @param on.resumed called when the answer goes on; with whether it had begun before.
   */
  constructor(ticket, on) {
    this.ticket = ticket;
    this.on = on;
    this.stopped = false;
    this.broken = false;
    this.wake = () => {};
    this.cancel = () => {};
  }

  stop() {
    this.stopped = true;
    this.cancel();
    this.wake();
  }

  opening() {
    const {request, requestId, id, seq} = this.ticket;
    if (id) return {type: 'resume', request_id: requestId, id, after: seq};
    // The key has a repeat join the answer, should the first request have arrived after all.
    return {...request, stream: true, request_id: requestId, resume_for: RESUME_SECONDS, idempotency_key: requestId};
  }

  take(frame) {
    const {ticket} = this;
    if (this.broken) {
      this.broken = false;
      this.on.resumed(ticket.id !== null);
    }
    if (ticket.seq !== null && frame.seq <= ticket.seq) return;
    ticket.id = frame.id;
    ticket.seq = frame.seq ?? null;
    const text = frame.choices[0].delta.content;
    if (text) this.on.text(text);
  }
}

/** The page's connection to the server; it carries one request at a time. */
export class Session {
  #socket = null;
  #url;
  #key;

  /** @param key gives the key to use, or nothing. */
  constructor(url, key) {
    this.#url = url;
    this.#key = key;
  }

  /** Have the next request open a new socket, as after a change of the key. */
  reset() {
    this.#socket?.close();
    this.#socket = null;
  }

  /**
   * See a run to its end. Gives the last frame, or throws one of the errors above; `unreachable`
   * says that it was stopped where the server could not be told.
   */
  async answer(run) {
    let failures = 0;
    while (!run.stopped) {
      const before = run.ticket.seq;
      try {
        this.#socket = await this.#connect();
        return await follow(this.#socket, run);
      } catch (error) {
        if (!(error instanceof ConnectionLost)) throw told(error, run);
        if (run.stopped) break;
        if (run.ticket.id && run.ticket.seq === null) {
          throw new StreamLost('The connection was lost, and this server keeps no streams.', {gone: true});
        }
        failures = run.ticket.seq === before ? failures + 1 : 1;
        if (failures > ATTEMPTS) throw new StreamLost('The server cannot be reached.', {gone: false});
        run.broken = true;
        run.on.reconnecting(failures, ATTEMPTS);
        await pause(failures, run);
      }
    }
    return {cancelled: true, unreachable: true};
  }

  async #connect() {
    if (this.#socket?.readyState === WebSocket.OPEN) return this.#socket;
    const socket = new WebSocket(this.#url);
    const key = this.#key();
    let timer;
    try {
      await new Promise((resolve, reject) => {
        timer = setTimeout(() => reject(new ConnectionLost()), CONNECT_MS);
        socket.onopen = () => (key ? socket.send(JSON.stringify({type: 'auth', api_key: key})) : resolve());
        socket.onmessage = (event) => {
          const frame = JSON.parse(event.data);
          if (frame.type === 'authenticated') resolve();
          if (frame.error) reject(new KeyRefused(frame.error.message));
        };
        socket.onclose = () => reject(new ConnectionLost());
      });
    } catch (error) {
      socket.close();
      throw error;
    } finally {
      clearTimeout(timer);
    }
    return socket;
  }
}

function told(error, run) {
  if (run.ticket.id && ['stream_not_found', 'stream_truncated'].includes(error.code)) {
    return new StreamLost(`The rest of this answer is gone. ${error.message}`, {gone: true});
  }
  return error;
}

function follow(socket, run) {
  return new Promise((resolve, reject) => {
    let heard = performance.now();
    let asked = null;

    let patience;

    const end = (settle, value) => {
      clearInterval(watch);
      clearTimeout(patience);
      socket.onmessage = socket.onclose = null;
      run.cancel = () => {};
      settle(value);
    };
    socket.onmessage = (event) => {
      heard = performance.now();
      const frame = JSON.parse(event.data);
      if (frame.request_id !== run.ticket.requestId) return;
      if (frame.error) end(reject, new RequestFailed(frame.error));
      else if (frame.choices) run.take(frame);
      else end(resolve, frame);
    };
    socket.onclose = (event) => {
      end(reject, event.code === 1008 ? new KeyRefused(event.reason) : new ConnectionLost());
    };
    // A connection may be dead and not know it: where nothing comes, ask; where no answer comes,
    // leave.
    const watch = setInterval(() => {
      const now = performance.now();
      if (asked !== null && heard > asked) asked = null;
      if (asked === null && now - heard > SILENCE_MS) {
        asked = now;
        socket.send(JSON.stringify({type: 'ping'}));
      } else if (asked !== null && now - asked > SILENCE_MS) {
        socket.close();
        end(reject, new ConnectionLost());
      }
    }, 1000);
    run.cancel = () => {
      socket.send(JSON.stringify({type: 'cancel', request_id: run.ticket.requestId}));
      patience ??= setTimeout(() => end(resolve, {cancelled: true}), CANCEL_MS);
    };

    socket.send(JSON.stringify(run.opening()));
    run.on.sent();
  });
}

/** Wait before the next attempt; shorter where the browser finds the network again. */
function pause(failures, run) {
  const longest = Math.min(FIRST_PAUSE_MS * 2 ** (failures - 1), LONGEST_PAUSE_MS);
  return new Promise((resolve) => {
    const timer = setTimeout(done, longest * (0.5 + Math.random() / 2));
    function done() {
      clearTimeout(timer);
      removeEventListener('online', done);
      run.wake = () => {};
      resolve();
    }
    addEventListener('online', done);
    run.wake = done;
  });
}
