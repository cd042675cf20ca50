// Wires the stream to the parts of the page.

import { token } from "./api.js";
import { SentCommands } from "./commands.js";
import { Create } from "./create.js";
import { byId, Choice, setText } from "./dom.js";
import { CommandForm } from "./form.js";
import { Identity } from "./identity.js";
import { Messages } from "./messages.js";
import { Method } from "./method.js";
import { Model } from "./model.js";
import { Now } from "./now.js";
import { Plot } from "./plot.js";
import { Stream } from "./stream.js";
import { TwinEditor } from "./twin.js";
import { Views } from "./views.js";

const LINK = { connecting: "connecting", live: "live", lost: "connection to the hub lost, trying again", refused: "no access" };
const NO_TOKEN = "The address of this page lacks its token. Open the address that masthead hub printed, with everything after the #.";
const WRONG_TOKEN = "The hub does not accept this page's token: it makes a new one at each start. Open the address that masthead hub printed last.";

const model = new Model();
const now = new Now();
const plot = new Plot(byId("plot"), byId("readout"));
const form = new CommandForm();
const sent = new SentCommands();
const messages = new Messages();
const identity = new Identity();
const twin = new TwinEditor();
const method = new Method();
const devices = new Choice(byId("devices"), "device", (id) => { chosen.device = id; chosen.sensor = null; render(true); });
const sensors = new Choice(byId("sensors"), "sensor", (id) => { chosen.sensor = id; render(true); });
const chosen = { device: null, sensor: null, soon: null }; // soon: a device that is about to be listed
let queued = false;
let quiet = true;

function render(quietly) {
  const listed = model.listed;
  const lost = document.body.dataset.link !== "live"; // what was true then may not be true now
  if (listed.some((device) => device.id === chosen.soon)) {
    Object.assign(chosen, { device: chosen.soon, sensor: null, soon: null });
  }
  if (!listed.some((device) => device.id === chosen.device)) {
    chosen.device = (listed.find((device) => device.connected) ?? listed[0])?.id ?? null;
    chosen.sensor = null;
  }
  byId("faults").hidden = lost || model.faults.length === 0;
  setText(byId("faults"), model.faults.length ? `This hub misbehaves, as it was told to: ${model.faults.join("; ")}` : "");
  byId("devices").hidden = listed.length === 0;
  byId("no-device").hidden = lost || listed.length > 0;
  for (const part of document.querySelectorAll(".of-device")) part.hidden = chosen.device === null;
  devices.show(listed.map(({ id, connected, enabled }) => ({
    value: id, label: id, state: connected && !lost ? "good" : "idle",
    note: lost ? "not known" : !enabled ? "disabled" : connected ? "connected" : "not connected" })), chosen.device);
  twin.keep(new Set(listed.map((device) => device.id)));
  twin.show(views.current === "manage" ? chosen.device : null);
  if (chosen.device === null) return;

  const device = model.device(chosen.device);
  const names = [...device.sensors.keys()].sort();
  if (!device.sensors.has(chosen.sensor)) chosen.sensor = names[0] ?? null;
  byId("sensors").hidden = names.length < 2;
  sensors.show(names.map((name) => ({ value: name, label: name })), chosen.sensor);

  const points = device.sensors.get(chosen.sensor) ?? [];
  now.show(chosen.sensor, points.at(-1) ?? null);
  plot.show(points);
  form.show(chosen.device, device.actuators);
  sent.show(chosen.device, device, quietly);
  messages.show(chosen.device, device);
  identity.show(listed.find(({ id }) => id === chosen.device), !lost);
  method.show(chosen.device);
}

function take(line) {
  model.take(line);
  if (line.kind === "twin") return twin.changed(line.device);
  if (line.kind === "snapshot") {
    quiet = true;
    twin.changed(chosen.device); // what was told meanwhile was missed
  }
  schedule();
}

/** Many lines, one drawing. */
function schedule() {
  if (queued) return;
  queued = true;
  requestAnimationFrame(() => {
    queued = false;
    const quietly = quiet;
    quiet = false;
    render(quietly);
  });
}

function linkState(state) {
  byId("link").dataset.state = state;
  document.body.dataset.link = state;
  setText(byId("link"), LINK[state]);
  const notice = byId("notice");
  notice.hidden = state !== "refused";
  setText(notice, state === "refused" ? (token() ? WRONG_TOKEN : NO_TOKEN) : "");
  schedule();
}

new Create((id) => { chosen.soon = id; schedule(); });
byId("to-create").addEventListener("click", () => { views.open("manage"); byId("create-id").focus(); });
const views = new Views(() => render(true));
const stream = new Stream(take, linkState);
addEventListener("hashchange", () => { // the right address pasted over a wrong one loads nothing
  views.read();
  stream.start();
});
setInterval(() => now.tick(), 1000);
stream.start();
