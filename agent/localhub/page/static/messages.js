// The latest messages as the hub received them; drawn only while they are looked at, read whole when opened.

import { readMessage } from "./api.js";
import { arrange, byId, el } from "./dom.js";
import { size, time } from "./format.js";

const SHOWN = 60;
const HEX_ROW = 32; // digits: sixteen bytes

/** Rows of sixteen bytes, each with its offset, as hex dumps have them. */
function dump(hex) {
  const rows = [];
  for (let at = 0; at < hex.length; at += HEX_ROW) {
    const bytes = hex.slice(at, at + HEX_ROW).match(/../g).join(" ");
    rows.push(`${(at / 2).toString(16).padStart(6, "0")}  ${bytes}`);
  }
  return rows.join("\n");
}

function pairs(heading, values) {
  const entries = Object.entries(values);
  return el("section", {}, el("h3", {}, heading),
    entries.length === 0 ? el("p", { class: "quiet" }, "none") : el("dl", { class: "pairs" },
      ...entries.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])));
}

function raw({ sequence, received, size: bytes, system, properties, text, hex }) {
  const kind = text === null ? "Body, hexadecimal" : "Body";
  const enqueued = { time: new Date(received).toISOString(), size: size(bytes), "sequence number": String(sequence) };
  return [
    el("section", { class: "body" }, el("h3", {}, kind),
      bytes === 0 ? el("p", { class: "quiet" }, "empty")
        : el("pre", { tabindex: 0, role: "region", "aria-label": kind }, text ?? dump(hex))),
    el("div", {}, pairs("Application properties", properties), pairs("Enqueued", enqueued)),
    pairs("System properties", system),
  ];
}

export class Messages {
  #id = null;
  #device = null;
  #rows = new WeakMap(); // message -> node

  constructor() {
    byId("log-readings").addEventListener("change", () => this.#draw());
    byId("log-still").addEventListener("change", () => this.#draw());
  }

  show(id, device) {
    if (id !== this.#id) byId("log-still").checked = false;
    this.#id = id;
    this.#device = device;
    this.#draw();
  }

  #draw() {
    if (byId("view-messages").hidden || !this.#device || byId("log-still").checked) return;
    const { readings, others } = this.#device;
    const messages = [...others, ...(byId("log-readings").checked ? readings : [])];
    messages.sort((a, b) => b.sequence - a.sequence);
    arrange(byId("messages"), messages.slice(0, SHOWN).map((message) => this.#row(message)));
    byId("no-message").hidden = messages.length > 0;
  }

  #row(message) {
    if (!this.#rows.has(message)) this.#rows.set(message, this.#build(message));
    return this.#rows.get(message);
  }

  #build({ device, sequence, type, received, messageId, size: bytes, beginning }) {
    const content = el("div", { class: "raw" }, el("p", { class: "quiet" }, "…"));
    const row = el("details", {},
      el("summary", {},
        el("span", { class: "when" }, time(received)), " ", el("span", { class: "kind" }, type), " ",
        el("span", { class: "quiet" }, size(bytes)), " ", el("span", { class: "quiet id" }, messageId ?? ""), " ",
        el("code", { class: "beginning" }, beginning)),
      content);
    let read = false;
    row.addEventListener("toggle", async () => {
      if (!row.open || read) return;
      read = true;
      try {
        content.replaceChildren(...raw(await readMessage(device, sequence)));
      } catch (error) {
        read = false;
        content.replaceChildren(el("p", { class: "error", role: "alert" }, error.message));
      }
    });
    return el("li", { "data-type": type, "data-sequence": sequence }, row);
  }
}
