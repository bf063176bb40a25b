// Receives turns; hands them on to the eye. All that a model or a server says is text, never markup.

const conversation = document.getElementById('conversation');
const list = document.getElementById('messages');
const welcome = document.getElementById('welcome');

const NEAR_END_PX = 60;

function element(name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Show these turns and no others; gives a view of each. */
export function showAll(turns, onRetry) {
  list.replaceChildren();
  welcome.hidden = turns.length > 0;
  return turns.map((turn) => show(turn, onRetry));
}

/** Add a turn at the end. */
export function show(turn, onRetry) {
  welcome.hidden = true;
  const view = new TurnView(turn, onRetry);
  list.append(view.article);
  scrollToEnd();
  return view;
}

function scrollToEnd() {
  conversation.scrollTop = conversation.scrollHeight;
}

function atEnd() {
  const {scrollHeight, scrollTop, clientHeight} = conversation;
  return scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
}

class TurnView {
  #turn;
  #text = document.createTextNode('');
  #facts = element('p', 'facts');
  #error = element('p', 'error');
  #retry = element('button', 'plain', 'Try again');
  #waiting = '';
  #frame = null;

  constructor(turn, onRetry) {
    this.#turn = turn;
    this.article = element('article', `turn ${turn.role}`);
    const heading = element('h2', 'unseen', turn.role === 'user' ? 'You' : 'Answer');
    const text = element('div', 'text');
    text.dir = 'auto';
    text.append(this.#text);
    this.#retry.type = 'button';
    this.#retry.addEventListener('click', () => onRetry(turn, this));
    this.article.append(heading, text, this.#error, this.#facts, this.#retry);
    this.#text.data = turn.text;
    this.update(false);
  }

  /** Add to the text, with all else that comes before the next frame of the screen. */
  append(text) {
    this.#waiting += text;
    this.#frame ??= requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    const follow = atEnd();
    this.#text.appendData(this.#waiting);
    this.#waiting = '';
    this.#facts.textContent = factsText(this.#turn);
    if (follow) scrollToEnd();
  }

  /** Show the turn as it is now; `busy` while it is being written. */
  update(busy) {
    this.#flush();
    const {error} = this.#turn;
    const follow = atEnd();
    // Screen readers read an answer out when it is whole, and not each word by itself.
    this.article.setAttribute('aria-busy', busy);
    this.#error.textContent = error ? error.message + (error.code ? ` (${error.code})` : '') : '';
    this.#error.hidden = this.#retry.hidden = !error;
    if (follow) scrollToEnd();
  }
}

/** "12 tokens · 43.1 tokens/s · first after 120 ms", of what is known. */
function factsText({facts: {tokens, rate, firstMs, resumed, stopped} = {}}) {
  const known = [];
  if (tokens !== undefined) known.push(`${tokens} ${tokens === 1 ? 'token' : 'tokens'}`);
  if (rate !== undefined) known.push(`${rate < 100 ? rate.toFixed(1) : Math.round(rate)} tokens/s`);
  if (firstMs !== undefined) known.push(`first token after ${Math.round(firstMs)} ms`);
  if (resumed) known.push(resumed === 1 ? 'resumed once' : `resumed ${resumed} times`);
  if (stopped) known.push('stopped');
  return known.join(' · ');
}
