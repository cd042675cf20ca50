// One device's identity: its state, its connection string, and its end.

import { connectionString, deleteDevice, setEnabled } from "./api.js";
import { byId, once, setText, wrong } from "./dom.js";

const said = (words) => setText(byId("identity-said"), words);

export class Identity {
  #device = null; // as the hub lists it
  #doomed = null; // the id in the dialog

  constructor() {
    const error = byId("identity-error");
    for (const [id, work] of [["copy", () => this.#copy()], ["enable", () => this.#toggle()]]) {
      byId(id).addEventListener("click", () => { said(""); once(byId(id), error, work); });
    }
    byId("hide-string").addEventListener("click", () => { this.#hideString(); byId("copy").focus(); });
    byId("delete").addEventListener("click", () => this.#ask());
    byId("delete-cancel").addEventListener("click", () => byId("delete-dialog").close());
    byId("delete-form").addEventListener("submit", (event) => {
      event.preventDefault();
      once(byId("delete-now"), byId("delete-error"), () => this.#delete());
    });
  }

  /** `known`: whether what the hub has said of the connection holds still. */
  show(device, known) {
    if (device.id !== this.#device?.id) {
      this.#hideString();
      said("");
      setText(byId("identity-error"), "");
    }
    this.#device = device;
    setText(byId("identity-id"), device.id);
    setText(byId("identity-state"), device.enabled ? "enabled" : "disabled");
    byId("identity-state").dataset.state = device.enabled ? "" : "warn";
    setText(byId("identity-connection"), !known ? "not known" : device.connected ? "connected" : "not connected");
    setText(byId("identity-proof"), device.proof);
    setText(byId("enable"), device.enabled ? "Disable" : "Enable");
  }

  async #copy() {
    this.#hideString();
    const { id, proof } = this.#device;
    const text = await connectionString(id);
    if (id !== this.#device.id) return;
    try {
      await navigator.clipboard.writeText(text);
      said(`Copied: the connection string of ${id}${proof === "key" ? ", which holds its key" : ""}.`);
    } catch {
      byId("string-field").hidden = false;
      byId("string").value = text;
      byId("string").focus();
      byId("string").select();
      said("This browser does not let the page copy: copy the line yourself.");
    }
  }

  #hideString() {
    byId("string").value = "";
    byId("string-field").hidden = true;
  }

  async #toggle() {
    const { id, enabled } = await setEnabled(this.#device.id, !this.#device.enabled);
    said(enabled ? `${id} may connect.` : `${id} is cut off and may not connect.`);
  }

  #ask() {
    this.#doomed = this.#device.id;
    setText(byId("delete-id"), this.#doomed);
    byId("delete-typed").value = "";
    setText(byId("delete-error"), "");
    byId("delete-dialog").showModal();
  }

  async #delete() {
    if (byId("delete-typed").value.trim() !== this.#doomed) wrong(byId("delete-typed"), `Type ${this.#doomed} to delete it.`);
    await deleteDevice(this.#doomed);
    byId("delete-dialog").close();
    setText(byId("create-error"), "");
    setText(byId("create-said"), `${this.#doomed} is deleted.`);
    byId("create-id").focus();
  }
}
