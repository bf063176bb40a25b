// Receives the turns of a conversation; hands on the messages of the next request, and keeps both.
//
// A turn is {role, text}. An answer has besides: `ticket` while it is not whole, `facts` on how it
// came, and `error` where it failed.

import {load, save} from './storage.js';

export class Conversation {
  turns = load('conversation', []);

  /** Add a question and the room for its answer; gives both. */
  ask(text) {
    this.turns.push({role: 'user', text}, {role: 'assistant', text: '', facts: {}});
    return this.turns.slice(-2);
  }

  /** What the model is to go on from: all but the last answer, and those that stayed empty. */
  messages(system) {
    const before = this.turns.slice(0, -1).filter(({text}) => text);
    const messages = before.map(({role, text}) => ({role, content: text}));
    return system ? [{role: 'system', content: system}, ...messages] : messages;
  }

  clear() {
    this.turns = [];
    this.save();
  }

  save() {
    save('conversation', this.turns);
  }
}
