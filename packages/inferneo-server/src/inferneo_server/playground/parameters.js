// Receives what is typed into the settings; hands on the fields of a request, and keeps them.

import {load, save} from './storage.js';

const NAMES = ['system', 'temperature', 'top_p', 'max_tokens', 'seed', 'stop_texts'];
const WHOLE = ['max_tokens', 'seed'];

const field = (name) => document.getElementById(name);

/** What is typed is not what the field takes. */
export class FieldError extends Error {
  constructor(element, what) {
    super(`${element.labels[0].textContent} must be ${what}.`);
    this.element = element;
  }
}

/** Fill the fields with what they held before a reload, and remember what is typed from now on. */
export function keepParameters() {
  const kept = load('parameters', {});
  for (const name of NAMES) {
    if (typeof kept[name] === 'string') field(name).value = kept[name];
  }
  field('parameters').addEventListener('input', () => {
    save('parameters', Object.fromEntries(NAMES.map((name) => [name, field(name).value])));
  });
}

/** The system prompt, or an empty text. */
export function systemPrompt() {
  return field('system').value.trim();
}

/** The fields that are filled in, as a request has them. What they may be, the server says. */
export function parameters() {
  const given = {};
  for (const name of ['temperature', 'top_p', ...WHOLE]) {
    const element = field(name);
    if (element.validity.badInput) throw new FieldError(element, 'a number');
    if (element.value === '') continue;
    given[name] = Number(element.value);
    // Larger ones are not told apart here, and would reach the server as others.
    if (WHOLE.includes(name) && !Number.isSafeInteger(given[name])) {
      throw new FieldError(element, 'a whole number, of at most 15 digits');
    }
  }
  const stop = field('stop_texts').value.split('\n').filter((line) => line !== '').map(unescape);
  if (stop.length) given.stop = stop;
  return given;
}

function unescape(text) {
  return text.replace(/\\([nt\\])/g, (_, letter) => ({n: '\n', t: '\t', '\\': '\\'})[letter]);
}
