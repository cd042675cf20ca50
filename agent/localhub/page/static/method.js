// Any direct method by its name, and what the device answers.

import { callMethod } from "./api.js";
import { byId, once, setText, wrong } from "./dom.js";
import { JsonField } from "./jsonfield.js";

function seconds(id, least, most) {
  const value = byId(id).valueAsNumber;
  return value >= least && value <= most ? value : wrong(byId(id), `For how many seconds? ${least} to ${most}.`);
}

export class Method {
  #device = null;
  #payload = new JsonField("method-payload", "value or nothing");

  constructor() {
    byId("method-form").addEventListener("submit", (event) => {
      event.preventDefault();
      once(byId("method-call"), byId("method-error"), () => this.#call());
    });
  }

  show(deviceId) {
    if (deviceId === this.#device) return;
    this.#device = deviceId;
    setText(byId("method-target"), deviceId);
    setText(byId("method-error"), "");
    this.#answer("", null);
  }

  async #call() {
    const device = this.#device;
    const name = byId("method-name").value.trim() || wrong(byId("method-name"), "Which method?");
    const payload = this.#payload.read();
    if (payload === null) return;
    const timeouts = {
      responseTimeoutInSeconds: seconds("method-response", 5, 300),
      connectTimeoutInSeconds: seconds("method-connect", 0, 300),
    };
    this.#answer(`calling ${name} …`, null);
    try {
      const answer = await callMethod(device, name, payload, timeouts);
      if (device === this.#device) this.#answer(`${name}: ${device} answered ${answer.status}`, answer);
    } catch (error) {
      if (device !== this.#device) return; // it is in the list of what was sent
      this.#answer("", null);
      throw error;
    }
  }

  #answer(words, answer) {
    setText(byId("method-status"), words);
    byId("method-answer").hidden = answer === null;
    setText(byId("method-answer"), answer === null ? "" : JSON.stringify(answer.payload, null, 2));
  }
}
