// A text field that holds JSON: what is wrong with it is said beneath it, soon after the typing stops.

import { mistake } from "./json.js";
import { byId, setText } from "./dom.js";

const PAUSE_MS = 400;

export class JsonField {
  #timer = 0;

  /** `id`: of the textarea; `${id}-error` is where the mistake is said. `kind`: "object", or "value or nothing". */
  constructor(id, kind) {
    this.area = byId(id);
    this.complaint = byId(`${id}-error`);
    this.kind = kind;
    this.area.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#say(this.#mistake()), PAUSE_MS);
    });
  }

  get text() {
    return this.area.value;
  }

  set text(text) {
    clearTimeout(this.#timer);
    if (this.area.value !== text) this.area.value = text;
    this.#say(null);
  }

  /** The JSON, "null" for nothing; or null, with the cursor at the mistake. */
  read() {
    clearTimeout(this.#timer);
    const found = this.#mistake();
    this.#say(found);
    if (!found) return this.text.trim() || "null";
    this.area.focus();
    this.area.setSelectionRange(found.place, found.place);
    return null;
  }

  #mistake() {
    const start = this.text.trimStart();
    if (this.kind === "object" && !start.startsWith("{")) {
      return { place: this.text.length - start.length, words: "expected a JSON object, at least {}" };
    }
    return start === "" ? null : mistake(this.text);
  }

  #say(found) {
    setText(this.complaint, found?.words ?? "");
    this.area.setAttribute("aria-invalid", String(found !== null));
  }
}
