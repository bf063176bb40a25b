// Receives the moments at which an answer's pieces come; hands on its token rate and its TTFT.

export class Meter {
  #facts;
  #fromStart;
  #sent = null;
  #first = null;
  #last = null;
  #pieces = 0;

  /**
   * @param facts of the turn: changes as the answer goes on.
   * @param fromStart whether it begins now; else it goes on after a reload.
   */
  constructor(facts, {fromStart}) {
    this.#facts = facts;
    this.#fromStart = fromStart;
  }

  sent() {
    this.#sent ??= performance.now();
  }

  piece() {
    this.#last = performance.now();
    this.#pieces += 1;
    if (this.#first === null) {
      this.#first = this.#last;
      if (this.#fromStart) this.#facts.firstMs = this.#first - this.#sent;
    }
    this.#rate(this.#pieces);
  }

  /** The end: the server's own count takes the place of ours, which takes a piece for a token. */
  end(tokens) {
    this.#facts.tokens = tokens;
    if (this.#first !== null && this.#fromStart) this.#rate(tokens);
  }

  #rate(tokens) {
    const seconds = (this.#last - this.#first) / 1000;
    if (seconds > 0) this.#facts.rate = (tokens - 1) / seconds;
  }
}
