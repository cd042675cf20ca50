// The form: what it holds becomes a command; what is wrong is said beside the button.

import { callCommand, sendCommand } from "./api.js";
import { byId, el, setText, wrong } from "./dom.js";

/** What each command needs, what it does, and how long it lasts unless something else is typed. */
const COMMANDS = {
  set: { parts: ["actuator", "value", "for"], seconds: "10", empty: "until told otherwise", meaning: "Give an actuator a value." },
  pulse: { parts: ["actuator", "for"], seconds: "1", meaning: "Switch an actuator on for a moment." },
  stop: { parts: ["actuator"], meaning: "Put an actuator into its safe state." },
  hold: { parts: ["for"], seconds: "600", empty: "until released", meaning: "Refuse all commands but those towards safe." },
  release: { parts: [], meaning: "End a hold that was made from afar; one made at the mast stays." },
  ping: { parts: [], meaning: "Ask for an answer, and do nothing." },
};

export class CommandForm {
  #device = null;
  #form = byId("command");
  #seconds = new Map(Object.entries(COMMANDS).map(([name, { seconds }]) => [name, seconds ?? ""]));
  #command = "set";

  constructor() {
    this.#form.addEventListener("submit", (event) => { event.preventDefault(); this.#submit(); });
    this.#form.addEventListener("change", () => this.#arrange());
    byId("stop-all").addEventListener("click", () => this.#send(byId("stop-all"), () => ({ command: "stop-all" })));
    this.#arrange();
  }

  show(deviceId, actuators) {
    this.#device = deviceId;
    setText(byId("target"), deviceId);
    const list = byId("actuators");
    const names = [...actuators].sort();
    if (list.children.length !== names.length || names.some((name, i) => name !== list.children[i].value)) {
      list.replaceChildren(...names.map((name) => el("option", { value: name })));
    }
  }

  /** Shows the parts of the chosen command; each keeps the seconds that were typed for it. */
  #arrange() {
    const { command, value } = this.#form.elements;
    const { parts, empty, meaning } = COMMANDS[command.value];
    if (command.value !== this.#command) {
      this.#seconds.set(this.#command, byId("seconds").value);
      this.#command = command.value;
      byId("seconds").value = this.#seconds.get(this.#command);
      setText(byId("form-error"), "");
    }
    for (const node of this.#form.querySelectorAll("[data-part]")) node.hidden = !parts.includes(node.dataset.part);
    byId("number-field").hidden = !parts.includes("value") || value.value !== "number";
    setText(byId("for-note"), empty ? `(empty: ${empty})` : "");
    setText(byId("meaning"), meaning);
  }

  #read() {
    const command = this.#form.elements.command.value;
    const { parts, empty } = COMMANDS[command];
    const read = { actuator: () => this.#actuator(), value: () => this.#value(), for: () => this.#duration(empty !== undefined) };
    return { command, ...Object.fromEntries(parts.map((part) => [part, read[part]()])) };
  }

  #actuator() {
    const name = byId("actuator").value.trim();
    return name || wrong(byId("actuator"), "Which actuator?");
  }

  #value() {
    const { value } = this.#form.elements;
    if (value.value !== "number") return value.value === "on";
    const number = byId("number").valueAsNumber;
    return Number.isFinite(number) ? number : wrong(byId("number"), "Which number?");
  }

  #duration(mayBeEmpty) {
    const input = byId("seconds");
    if (mayBeEmpty && input.value === "" && !input.validity.badInput) return null;
    if (input.valueAsNumber > 0) return input.valueAsNumber;
    return wrong(input, `For how many seconds? More than 0${mayBeEmpty ? ", or leave it empty" : ""}.`);
  }

  async #submit() {
    await this.#send(this.#form.querySelector("button"), () => this.#read());
  }

  /** A message is on its way when the hub has it; a method would wait for the device, and the list shows that. */
  async #send(button, read) {
    if (button.getAttribute("aria-disabled") === "true") return;
    setText(byId("form-error"), "");
    const complain = (error) => setText(byId("form-error"), error.message);
    try {
      const command = read();
      if (this.#form.elements.way.value === "method") {
        callCommand(this.#device, withoutNull(command)).catch(complain);
        return;
      }
      button.setAttribute("aria-disabled", "true");
      await sendCommand(this.#device, command);
    } catch (error) {
      complain(error);
    } finally {
      button.removeAttribute("aria-disabled");
    }
  }
}

const withoutNull = (command) => Object.fromEntries(Object.entries(command).filter(([, value]) => value !== null));
