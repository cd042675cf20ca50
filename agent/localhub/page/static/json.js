// What is wrong with a text that is to be JSON, and where: browsers do not agree on saying that.

const SPACE = /[ \t\n\r]*/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"/y;
const NUMBER = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const WORD = /true|false|null/y;
const MOST_LEVELS = 200;

class Mistake extends Error {
  constructor(place, words) {
    super(words);
    this.place = place;
  }
}

class Reader {
  #at = 0;

  constructor(text) {
    this.text = text;
  }

  whole() {
    this.#space();
    this.#value(0);
    if (this.#at < this.text.length) this.#fail("expected nothing more");
  }

  #value(level) {
    if (level > MOST_LEVELS) this.#fail("nested too deep");
    if (this.#take("{")) this.#members(level);
    else if (this.#take("[")) this.#list(level);
    else if (this.text[this.#at] === '"') this.#string("a text");
    else if (!this.#match(NUMBER) && !this.#match(WORD)) this.#fail("expected a value");
    this.#space();
  }

  #members(level) {
    const names = new Set();
    if (this.#take("}")) return;
    do {
      const place = this.#at;
      const name = this.#string("a name in double quotes");
      if (names.has(name)) throw new Mistake(place, `${name} is there twice`);
      names.add(name);
      this.#space();
      if (!this.#take(":")) this.#fail("expected :");
      this.#value(level + 1);
    } while (this.#take(","));
    if (!this.#take("}")) this.#fail("expected , or }");
  }

  #list(level) {
    if (this.#take("]")) return;
    do this.#value(level + 1); while (this.#take(","));
    if (!this.#take("]")) this.#fail("expected , or ]");
  }

  #string(what) {
    const string = this.#match(STRING);
    if (string) return string;
    return this.#fail(this.text[this.#at] === '"' ? "a text that does not end, or has a wrong character" : `expected ${what}`);
  }

  #match(pattern) {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.text);
    if (found) this.#at = pattern.lastIndex;
    return found?.[0];
  }

  #space() {
    this.#match(SPACE);
  }

  #take(character) {
    if (this.text[this.#at] !== character) return false;
    this.#at += 1;
    this.#space();
    return true;
  }

  #fail(words) {
    throw new Mistake(this.#at, words);
  }
}

/** What is wrong with `text` as JSON: {place, words: "line 2, column 5: expected :"}, or null. */
export function mistake(text) {
  try {
    new Reader(text).whole();
    return null;
  } catch (error) {
    if (!(error instanceof Mistake)) throw error;
    const before = text.slice(0, error.place).split("\n");
    const what = error.place >= text.length ? `${error.message}, but the text ends` : error.message;
    return { place: error.place, words: `line ${before.length}, column ${before.at(-1).length + 1}: ${what}` };
  }
}
