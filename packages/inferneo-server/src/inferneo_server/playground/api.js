// Receives a key; hands on the models that it opens, and what else the page asks over HTTP.

import {KeyRefused, RequestFailed} from './session.js';

/** The ids of the models that are served; none while the first one is loading. */
export async function models(key) {
  const answer = await call('GET', 'v1/models', key);
  const {data} = await answer.json();
  return data.map((model) => model.id);
}

/** End an answer whose socket is gone. If the server cannot be told, it ends it by itself soon. */
export function abandon(id, key) {
  call('DELETE', `v1/streams/${encodeURIComponent(id)}`, key).catch(() => {});
}

// A path has no slash at its beginning: a proxy may have put all of the server below a path of its own.
async function call(method, path, key) {
  const url = new URL(`../${path}`, import.meta.url);
  const answer = await fetch(url, {method, headers: authorization(key), cache: 'no-store'});
  if (answer.ok) return answer;
  const {error} = await answer.json();
  throw answer.status === 401 ? new KeyRefused(error.message) : new RequestFailed(error);
}

function authorization(key) {
  if (!key) return {};
  // A header holds bytes, each of which the page has to give as a character.
  const bytes = String.fromCharCode(...new TextEncoder().encode(key));
  try {
    return new Headers({Authorization: `Bearer ${bytes}`});
  } catch {
    throw new KeyRefused('The key has characters that no key has');
  }
}
