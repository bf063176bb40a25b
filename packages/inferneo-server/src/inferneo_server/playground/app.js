// Receives what is typed and pressed; hands it to the parts of the page. Knows all of them.

import {abandon, models} from './api.js';
import {Conversation} from './conversation.js';
import {Meter} from './meter.js';
import {FieldError, keepParameters, parameters, systemPrompt} from './parameters.js';
import {KeyRefused, Run, Session, ticket} from './session.js';
import {load, save} from './storage.js';
import {show, showAll} from './view.js';

const POLL_MS = 1500;
const NOTICE_MS = 4000;

const at = (id) => document.getElementById(id);
const [prompt, send, stop, select] = [at('prompt'), at('send'), at('stop'), at('model')];
const [dialog, keyField, keyError] = [at('key-dialog'), at('key'), at('key-error')];
const wide = matchMedia('(min-width: 60rem)');

const socketUrl = new URL('../v1/chat/completions', import.meta.url);
socketUrl.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';

let key = load('key', '');
const session = new Session(socketUrl, () => key);
const conversation = new Conversation();
let running = null;
let ready = false;
let pollTimer;
let noticeTimer;

function notice(text, {passes = false} = {}) {
  clearTimeout(noticeTimer);
  at('notice').textContent = text;
  if (passes) noticeTimer = setTimeout(() => notice(''), NOTICE_MS);
}

// Answers

async function answer(turn, view) {
  const meter = new Meter(turn.facts, {fromStart: turn.text === ''});
  const run = new Run(turn.ticket, {
    sent: () => {
      meter.sent();
      if (run.broken) notice('Connected again. Waiting for the rest…');
    },
    text: (text) => {
      turn.text += text;
      meter.piece();
      view.append(text);
    },
    reconnecting: (attempt, attempts) => {
      notice(`Connection lost. Reconnecting, ${attempt} of ${attempts}…`);
    },
    resumed: (begun) => {
      notice('');
      if (!begun) return;
      turn.facts.resumed = (turn.facts.resumed ?? 0) + 1;
      notice('Resumed where it stopped.', {passes: true});
    },
  });
  delete turn.error;
  busy(run);
  view.update(true);
  conversation.save();
  try {
    const end = await session.answer(run);
    if (end.usage) meter.end(end.usage.completion_tokens);
    if (end.cancelled) turn.facts.stopped = true;
    if (end.unreachable && turn.ticket.id) abandon(turn.ticket.id, key);
    delete turn.ticket;
  } catch (error) {
    turn.error = {message: error.message, code: error.code};
    // What cannot be reached now may be later; all else has to begin anew.
    if (error.gone !== false) delete turn.ticket;
    if (error instanceof KeyRefused) {
      if (!key) turn.error.message = 'This server asks for a key.';
      askForKey(key && error.message);
    }
  }
  if (run.broken) notice('');
  busy(null);
  view.update(false);
  conversation.save();
}

function busy(run) {
  const focused = [send, stop].includes(document.activeElement);
  running = run;
  send.hidden = run !== null;
  stop.hidden = run === null;
  if (focused) (run ? stop : prompt).focus();
}

function newTicket() {
  const messages = conversation.messages(systemPrompt());
  return ticket({model: select.value, messages, ...parameters()});
}

function ask(text) {
  if (running || !text) return;
  if (!ready) {
    enter(key);
    return;
  }
  try {
    parameters();
  } catch (error) {
    complain(error);
    return;
  }
  const [question, turn] = conversation.ask(text);
  turn.ticket = newTicket();
  prompt.value = '';
  fitPrompt();
  show(question);
  answer(turn, show(turn, retry));
}

function retry(turn, view) {
  if (running || turn !== conversation.turns.at(-1)) return;
  prompt.focus();
  if (turn.ticket) {
    answer(turn, view);
    return;
  }
  try {
    Object.assign(turn, {ticket: newTicket(), text: '', facts: {}});
  } catch (error) {
    complain(error);
    return;
  }
  answer(turn, showAll(conversation.turns, retry).at(-1));
}

function complain(error) {
  if (!(error instanceof FieldError)) throw error;
  openSettings(true);
  error.element.focus();
  notice(error.message, {passes: true});
}

function clear() {
  running?.stop();
  conversation.clear();
  showAll([]);
  prompt.focus();
}

// Key and models

/** Ask for the models with a key, until there is one; the key is then the page's. */
async function enter(given) {
  clearTimeout(pollTimer);
  let served;
  try {
    served = await models(given);
  } catch (error) {
    if (error instanceof KeyRefused) {
      askForKey(given && error.message);
    } else {
      notice('The server cannot be reached. Trying again…');
      pollTimer = setTimeout(enter, POLL_MS, given);
    }
    return;
  }
  if (given !== key) session.reset();
  key = given;
  save('key', key);
  if (dialog.open) dialog.close();
  if (served.length === 0) {
    notice('The model is being loaded…');
    pollTimer = setTimeout(enter, POLL_MS, given);
    return;
  }
  notice('');
  fillModels(served);
  if (!ready) begin();
}

function begin() {
  ready = true;
  const last = conversation.turns.at(-1);
  // The page was left in mid-answer.
  if (last?.ticket && !last.error) answer(last, views.at(-1));
}

function askForKey(complaint) {
  at('change-key').hidden = false;
  keyError.textContent = complaint;
  if (!dialog.open) dialog.showModal();
  keyField.select();
}

function fillModels(served) {
  const chosen = load('model', served[0]);
  select.replaceChildren(...served.map((id) => new Option(id, id, false, id === chosen)));
  select.disabled = false;
}

// What is typed and pressed

function fitPrompt() {
  prompt.style.height = 'auto';
  prompt.style.height = `${prompt.scrollHeight}px`;
}

function openSettings(open) {
  document.body.classList.toggle('settings-open', open);
  at('toggle-settings').setAttribute('aria-expanded', open);
}

const settingsOpen = () => document.body.classList.contains('settings-open');

function closeSettings() {
  openSettings(false);
  at('toggle-settings').focus();
}

at('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  ask(prompt.value.trim());
});
prompt.addEventListener('input', fitPrompt);
prompt.addEventListener('keydown', (event) => {
  // Enter also accepts what an input method proposes.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  ask(prompt.value.trim());
});
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.isComposing || dialog.open) return;
  if (running) running.stop();
  else if (settingsOpen() && !wide.matches) closeSettings();
});
stop.addEventListener('click', () => running?.stop());
at('suggestions').addEventListener('click', ({target}) => {
  if (target.localName === 'button') ask(target.textContent);
});
at('clear').addEventListener('click', clear);
at('toggle-settings').addEventListener('click', () => openSettings(!settingsOpen()));
at('close-settings').addEventListener('click', closeSettings);
at('parameters').addEventListener('submit', (event) => event.preventDefault());
wide.addEventListener('change', () => openSettings(wide.matches));
select.addEventListener('change', () => save('model', select.value));
at('change-key').addEventListener('click', () => askForKey(''));
at('key-form').addEventListener('submit', (event) => {
  event.preventDefault();
  enter(keyField.value.trim());
});
dialog.addEventListener('close', () => prompt.focus());
addEventListener('pagehide', () => conversation.save());

const views = showAll(conversation.turns, retry);
at('change-key').hidden = !key;
openSettings(wide.matches);
keepParameters();
fitPrompt();
enter(key);
