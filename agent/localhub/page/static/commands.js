// The commands sent: for each its delivery, which the hub knows, and its outcome, which only the device can tell.

import { arrange, byId, el, setText } from "./dom.js";
import { time } from "./format.js";

const SIGNS = { done: "✓", bad: "✕", waiting: "…", idle: "·" };
const LOST = { expired: "expired", rejected: "rejected by the device", purged: "purged: taken out of the queue", "dead-lettered": "dead-lettered: sent ten times, never confirmed" };

const isNumber = (value) => typeof value === "number";

/** "beacon on for 10 s", "hold for 600 s", "ping": a command's body in words. */
function title({ name, body, text }) {
  const command = name && name !== "command" ? name : body?.command ?? name;
  if (typeof command !== "string") return text;
  const { actuator, value, for: seconds } = body ?? {};
  const shown = value === true ? "on" : value === false ? "off" : isNumber(value) ? String(value) : "";
  const words = command === "set" && actuator ? [actuator, shown] : [command === "stop-all" ? "stop all" : command, actuator];
  return [...words, isNumber(seconds) ? `for ${seconds} s` : ""].filter((word) => typeof word === "string" && word).join(" ");
}

/** [state, words, note] of what the hub knows. */
function delivery({ way, state, status, deliveries, expires, settled }) {
  const at = settled === null ? "" : time(settled);
  if (way === "method") {
    if (state === "called") return ["waiting", "called, no answer yet", ""];
    if (state === "offline") return ["bad", "device offline", at];
    if (state === "no-answer") return ["bad", "no answer", at];
    return ["done", `answered ${status}`, at];
  }
  if (state === "delivered") return ["done", "delivered", at];
  if (state !== "queued") return ["bad", LOST[state] ?? state, at];
  if (deliveries === 0) return ["waiting", "queued", `expires ${time(expires)}`];
  return ["waiting", `sent${deliveries > 1 ? ` ${deliveries} times` : ""}, not confirmed`, `expires ${time(expires)}`];
}

/** [state, words, note] of what the device says, or why there is nothing yet. */
function outcomeOf({ way, state, deliveries }, outcome) {
  if (outcome) {
    const { status, reason, repeat } = outcome.body ?? {};
    const words = typeof reason === "string" && reason ? `${status}: ${reason}` : String(status);
    return [status === "done" ? "done" : "bad", words, time(outcome.received), repeat === true];
  }
  if (state === "delivered" || state === "no-answer") return ["waiting", "not told yet", "", false];
  if (state === "queued" || state === "called") return ["idle", "not yet", "", false];
  if (state === "answered") return ["idle", "none in the answer", "", false];
  return ["idle", way === "message" && (deliveries === 0 || state === "rejected") ? "none" : "not told", "", false];
}

function cell(label, who, [state, words, note], ...more) {
  return el("td", { class: label.toLowerCase(), "data-state": state },
    el("p", { class: "label" }, label, " ", el("small", {}, `says the ${who}`)),
    el("p", { class: "state" }, el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[state]), el("span", { class: "words" }, words)),
    note ? el("p", { class: "quiet" }, note) : "", ...more);
}

/** Draws the list; a row is rebuilt only when it changed. Says changes of live rows to screen readers. */
export class SentCommands {
  #rows = new Map(); // the hub's key of a command -> {content, node}

  show(deviceId, device, quietly) {
    const rows = new Map();
    for (const sent of device.sentCommands()) {
      const stages = [delivery(sent.command), outcomeOf(sent.command, sent.outcome)];
      const content = JSON.stringify([stages, sent.id, sent.followUp?.body]);
      const old = this.#rows.get(sent.command.key);
      if (old?.content === content) {
        rows.set(sent.command.key, old);
        continue;
      }
      rows.set(sent.command.key, { content, node: this.#row(sent, stages) });
      if (!quietly) this.#announce(sent.command, deviceId, stages);
    }
    this.#rows = rows;
    const nodes = [...rows.values()].map((row) => row.node);
    arrange(byId("sent-rows"), nodes);
    byId("no-command").hidden = nodes.length > 0;
    byId("sent").hidden = nodes.length === 0;
  }

  #row({ command, id, followUp }, [delivered, outcome]) {
    const { event, reason } = followUp?.body ?? {};
    const later = [event, reason].filter((word) => typeof word === "string").join(": ");
    return el("tr", { "data-id": id ?? "", "data-way": command.way },
      el("th", { class: "command", scope: "row" },
        el("strong", {}, title(command)),
        el("p", { class: "quiet" }, `${command.way} · ${time(command.sent)} · `,
          el("code", { title: id }, id?.slice(0, 8) ?? "no id"))),
      cell("Delivery", "hub", delivered),
      cell("Outcome", "device", outcome,
        outcome[3] ? el("p", { class: "repeat" }, "repeat") : "",
        followUp ? el("p", { class: "quiet" }, `then ${later} · ${time(followUp.received)}`) : ""));
  }

  #announce(command, deviceId, [delivered, outcome]) {
    const [state, words] = outcome;
    const told = state === "done" || state === "bad" ? `outcome ${words}` : delivered[1];
    setText(byId("announce"), `${title(command)}, ${deviceId}: ${told}.`);
  }
}
