// A device's twin: reported properties to read; desired properties and tags to edit, each change against the ETag
// of what was edited, so that somebody else's is told of and never overwritten.

import { readTwin, saveTwin } from "./api.js";
import { byId, once, setText } from "./dom.js";
import { JsonField } from "./jsonfield.js";

export class TwinEditor {
  #device = null;
  #base = null; // the twin that is edited
  #latest = null; // the twin as it is
  #drafts = new Map(); // device -> {base, desired, tags}: what was typed and not saved
  #fields = { desired: new JsonField("twin-desired", "object"), tags: new JsonField("twin-tags", "object") };
  #turn = Promise.resolve();
  #asked = false; // a reading waits for its turn

  constructor() {
    byId("twin-form").addEventListener("submit", (event) => {
      event.preventDefault();
      once(byId("twin-save"), byId("twin-error"), () => this.#save());
    });
    byId("twin-reset").addEventListener("click", () => { this.#fill(this.#latest); byId("twin-desired").focus(); });
    byId("twin-keep").addEventListener("click", () => { this.#base = this.#latest; this.#draw(); byId("twin-save").focus(); });
    byId("twin-form").addEventListener("input", () => this.#draw());
  }

  /** `deviceId`: null while the twin is not looked at. */
  show(deviceId) {
    if (deviceId === this.#device) return;
    if (this.#dirty()) this.#drafts.set(this.#device, { base: this.#base, ...this.#texts() });
    this.#device = deviceId;
    this.#base = this.#latest = null;
    for (const field of Object.values(this.#fields)) field.text = "";
    for (const id of ["twin-error", "twin-said", "twin-reported"]) setText(byId(id), "");
    this.#draw();
    this.#load();
  }

  /** The twin of a device is another than it was, or may be. */
  changed(deviceId) {
    if (deviceId === this.#device) this.#load();
  }

  /** The devices that there are: what was typed for another is forgotten. */
  keep(ids) {
    for (const id of this.#drafts.keys()) if (!ids.has(id)) this.#drafts.delete(id);
  }

  #load() {
    if (this.#device === null || this.#asked) return;
    this.#asked = true;
    this.#inTurn(async () => {
      this.#asked = false;
      const device = this.#device;
      if (device === null) return;
      try {
        const twin = await readTwin(device);
        if (device === this.#device) this.#take(twin);
      } catch (error) {
        if (device === this.#device) setText(byId("twin-error"), error.message);
      }
    });
  }

  async #save() {
    const device = this.#device;
    const tags = this.#fields.tags.read();
    const desired = this.#fields.desired.read();
    if (tags === null || desired === null || this.#base === null) return;
    const { etag } = this.#base;
    const sent = this.#texts();
    setText(byId("twin-said"), "");
    await this.#inTurn(async () => {
      try {
        const twin = await saveTwin(device, etag, { tags, desired });
        if (device === this.#device) this.#saved(twin, sent, twin.etag !== etag);
      } catch (error) {
        if (error.status !== 412) throw error;
        this.#load(); // which shows what is different
      }
    });
  }

  #saved(twin, sent, changed) {
    const typed = this.#texts();
    this.#base = this.#latest = twin;
    if (typed.tags === sent.tags && typed.desired === sent.desired) this.#fill(twin);
    this.#draw();
    setText(byId("twin-said"), changed ? "Saved." : "Nothing was different.");
  }

  /** Reading and saving wait for each other: a change of one's own is not taken for another's. */
  #inTurn(work) {
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  #take(twin) {
    const draft = this.#drafts.get(this.#device);
    this.#drafts.delete(this.#device);
    this.#latest = twin;
    setText(byId("twin-error"), "");
    if (draft) {
      this.#base = draft.base;
      for (const [name, field] of Object.entries(this.#fields)) field.text = draft[name];
    } else if (!this.#dirty()) {
      if (this.#base?.etag !== twin.etag) setText(byId("twin-said"), "");
      this.#fill(twin);
    }
    this.#draw();
  }

  #fill(twin) {
    this.#base = twin;
    for (const [name, field] of Object.entries(this.#fields)) field.text = twin[name].text;
    this.#draw();
  }

  #texts() {
    return { desired: this.#fields.desired.text, tags: this.#fields.tags.text };
  }

  #dirty() {
    if (this.#base === null) return false;
    const { desired, tags } = this.#texts();
    return desired !== this.#base.desired.text || tags !== this.#base.tags.text;
  }

  #draw() {
    const ready = this.#base !== null;
    const dirty = this.#dirty();
    const conflict = dirty && this.#latest.etag !== this.#base.etag;
    for (const { area } of Object.values(this.#fields)) area.readOnly = !ready;
    byId("twin-reset").hidden = !dirty;
    setText(byId("twin-reset"), conflict ? "Drop mine, show theirs" : "Undo");
    byId("twin-keep").hidden = byId("twin-theirs").hidden = !conflict;
    const { desired, tags } = conflict ? this.#latest : {};
    setText(byId("twin-theirs"), conflict ? `desired: ${desired.text}\ntags: ${tags.text}` : "");
    setText(byId("twin-conflict"), conflict ? "The twin was changed meanwhile, to this. Yours is not saved." : "");
    if (dirty) setText(byId("twin-said"), "");
    if (this.#latest === null) return;
    setText(byId("twin-reported"), this.#latest.reported.text);
    for (const name of ["desired", "reported"]) setText(byId(`${name}-version`), `version ${this.#latest[name].version}`);
  }
}
