// The form that sends a command, and the three stages of each one sent.

import { sendCommand } from "./api.js";
import { arrange, byId, el, setText } from "./dom.js";
import { time } from "./format.js";

const SIGNS = { done: "✓", bad: "✕", waiting: "…", idle: "·" };

/** "beacon on for 10 s" of a command's body. */
function title(command) {
  const body = command.body;
  if (body?.command !== "set") return command.text ?? "no command";
  const value = body.value === true ? "on" : body.value === false ? "off" : String(body.value);
  return `${body.actuator} ${value}${typeof body.for === "number" ? ` for ${body.for} s` : ""}`;
}

const delivered = (command) => command.state === "delivered";

function deliveryStage(command) {
  if (delivered(command)) return ["done", "delivered", command.settled === null ? "" : time(command.settled)];
  if (command.state === "queued") return ["waiting", "waiting for the device", `expires ${time(command.expires)}`];
  return ["bad", `${command.state}, not delivered`, command.settled === null ? "" : time(command.settled)];
}

function outcomeStage(command, outcome) {
  if (outcome) {
    const { status, reason } = outcome.body;
    const words = typeof reason === "string" && reason ? `${status}: ${reason}` : String(status);
    return [status === "done" ? "done" : "bad", words, time(outcome.received)];
  }
  if (delivered(command)) return ["waiting", "waiting for the outcome", ""];
  return ["idle", command.state === "queued" ? "not yet" : "none", ""];
}

function stageRow(name, [state, words, note]) {
  return el("li", { "data-stage": name.toLowerCase(), "data-state": state },
    el("span", { class: "sign", "aria-hidden": "true" }, SIGNS[state]),
    el("span", { class: "stage" }, name),
    el("span", { class: "words" }, words),
    el("span", { class: "quiet" }, note));
}

/** Draws the list; a row is rebuilt only when it changed. Says changes of live rows to screen readers. */
export class SentCommands {
  #rows = new Map(); // the hub's key of a command -> {content, node}

  show(deviceId, device, quietly) {
    const commands = [...device.commands.values()].sort((a, b) => b.key - a.key);
    const rows = new Map();
    const list = byId("sent");
    for (const command of commands) {
      const outcome = device.outcomes.get(command.id);
      const followUp = device.followUps.get(command.id);
      const stages = [["Hub", ["done", "taken", time(command.sent)]], ["Device", deliveryStage(command)],
        ["Outcome", outcomeStage(command, outcome)]];
      const content = JSON.stringify([stages, followUp?.body]);
      const old = this.#rows.get(command.key);
      if (old?.content === content) {
        rows.set(command.key, old);
        continue;
      }
      const node = this.#row(command, stages, followUp);
      if (!quietly) this.#announce(command, deviceId, stages);
      rows.set(command.key, { content, node });
    }
    this.#rows = rows;
    const nodes = [...rows.values()].map((row) => row.node);
    arrange(list, nodes);
    byId("no-command").hidden = nodes.length > 0;
  }

  #row(command, stages, followUp) {
    const row = el("li", { "data-id": command.id ?? "" },
      el("p", { class: "title" }, el("strong", {}, title(command)), el("code", { class: "quiet", title: command.id }, command.id?.slice(0, 8) ?? "no id")),
      el("ol", { class: "stages" }, ...stages.map(([name, stage]) => stageRow(name, stage))));
    if (followUp) {
      const { event, reason } = followUp.body ?? {};
      row.append(el("p", { class: "follow-up quiet" }, [event, reason].filter((word) => typeof word === "string").join(": "), ` · ${time(followUp.received)}`));
    }
    return row;
  }

  #announce(command, deviceId, [, [, delivery], [, outcome]]) {
    const stage = outcome[0] === "done" || outcome[0] === "bad" ? outcome : delivery;
    setText(byId("announce"), `${title(command)}, ${deviceId}: ${stage[1]}.`);
  }
}

/** The form: what it holds becomes a command; what is wrong is said beside the button. */
export class CommandForm {
  constructor() {
    this.device = null;
    const form = byId("command");
    form.addEventListener("submit", (event) => { event.preventDefault(); this.#submit(form); });
    form.addEventListener("change", () => { byId("number-field").hidden = form.elements.value.value !== "number"; });
  }

  show(deviceId, actuators) {
    this.device = deviceId;
    setText(byId("target"), deviceId);
    const list = byId("actuators");
    const names = [...actuators].sort();
    if (list.children.length !== names.length || names.some((name, i) => name !== list.children[i].value)) {
      list.replaceChildren(...names.map((name) => el("option", { value: name })));
    }
  }

  #read(form) {
    const wrong = (input, words) => { input.focus(); throw new Error(words); };
    const actuator = byId("actuator").value.trim();
    if (!actuator) wrong(byId("actuator"), "Which actuator?");
    const seconds = byId("seconds");
    if (seconds.validity.badInput || (seconds.value !== "" && !(seconds.valueAsNumber > 0))) wrong(seconds, "For how many seconds? More than 0, or leave it empty.");
    let value = form.elements.value.value === "on";
    if (form.elements.value.value === "number") {
      value = byId("number").valueAsNumber;
      if (!Number.isFinite(value)) wrong(byId("number"), "Which number?");
    }
    return { actuator, value, for: seconds.value === "" ? null : seconds.valueAsNumber };
  }

  async #submit(form) {
    const button = form.querySelector("button");
    if (button.getAttribute("aria-disabled") === "true") return;
    setText(byId("form-error"), "");
    try {
      const command = this.#read(form);
      button.setAttribute("aria-disabled", "true");
      await sendCommand(this.device, command);
    } catch (error) {
      setText(byId("form-error"), error.message);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}
