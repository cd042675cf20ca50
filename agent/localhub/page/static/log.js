// The latest messages as they came; drawn only while it is open.

import { arrange, byId, el } from "./dom.js";
import { time } from "./format.js";

const SHOWN = 60;

export class Log {
  #device = null;
  #rows = new WeakMap(); // item -> node

  constructor() {
    byId("log").addEventListener("toggle", () => this.#draw());
    byId("log-readings").addEventListener("change", () => this.#draw());
  }

  show(device) {
    this.#device = device;
    this.#draw();
  }

  #draw() {
    if (!byId("log").open || !this.#device) return;
    const { readings, others } = this.#device;
    const items = [...others, ...(byId("log-readings").checked ? readings : [])];
    items.sort((a, b) => b.sequence - a.sequence);
    arrange(byId("messages"), items.slice(0, SHOWN).map((item) => this.#row(item)));
  }

  #row(item) {
    if (!this.#rows.has(item)) this.#rows.set(item, this.#build(item));
    return this.#rows.get(item);
  }

  #build(item) {
    const properties = Object.entries(item.properties).map(([name, value]) => `${name}=${value}`).join("  ");
    return el("li", { "data-type": item.type },
      el("p", {}, el("span", { class: "when" }, time(item.received)), el("span", { class: "kind" }, item.type),
        el("span", { class: "quiet" }, [item.messageId, properties].filter(Boolean).join("  "))),
      el("pre", {}, item.body === null ? item.text : JSON.stringify(item.body)));
  }
}
