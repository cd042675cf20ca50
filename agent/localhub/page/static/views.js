// The tabs: one view at a time, kept in the address beside the token.

import { byId } from "./dom.js";

const NAMES = ["wind", "messages", "manage"];
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

const fragment = () => new URLSearchParams(location.hash.slice(1));

export class Views {
  current = "wind";

  constructor(onChange) {
    this.onChange = onChange;
    for (const name of NAMES) this.#tab(name).addEventListener("click", () => this.open(name));
    byId("tabs").addEventListener("keydown", (event) => this.#key(event));
    this.read();
  }

  /** Shows the view that the address names. */
  read() {
    const name = fragment().get("view");
    this.#show(NAMES.includes(name) ? name : "wind");
  }

  open(name) {
    const parts = fragment();
    if (name === "wind") parts.delete("view");
    else parts.set("view", name);
    history.replaceState(null, "", `#${parts}`);
    this.#show(name);
    this.onChange();
  }

  #tab(name) {
    return byId(`tab-${name}`);
  }

  #show(name) {
    this.current = name;
    for (const each of NAMES) {
      this.#tab(each).setAttribute("aria-selected", String(each === name));
      this.#tab(each).tabIndex = each === name ? 0 : -1;
      byId(`view-${each}`).hidden = each !== name;
    }
  }

  #key(event) {
    const last = NAMES.length - 1;
    const at = NAMES.indexOf(this.current) + (STEPS[event.key] ?? 0);
    const to = { Home: 0, End: last }[event.key] ?? (event.key in STEPS ? (at + NAMES.length) % NAMES.length : null);
    if (to === null) return;
    event.preventDefault();
    this.open(NAMES[to]);
    this.#tab(NAMES[to]).focus();
  }
}
