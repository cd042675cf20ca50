// What the hub has told us, bounded: the last points of each sensor, messages and commands of each device.

const POINTS = 600;
const MESSAGES = 60;
const COMMANDS = 30;
const SENSORS = 16;

const number = (value) => (typeof value === "number" && Number.isFinite(value) ? value : null);
const text = (value) => (typeof value === "string" && value ? value : null);

function point(item) {
  const body = item.body;
  const time = Date.parse(body.time);
  return {
    time: Number.isNaN(time) ? item.received : time,
    received: item.received,
    intervalMs: (number(body.interval) ?? 60) * 1000,
    speed: number(body.windSpeed),
    gust: number(body.windGust),
    direction: number(body.windDirection),
    quality: text(body.quality),
    flags: Array.isArray(body.flags) ? body.flags.map(String) : [],
    clock: text(body.timeQuality),
    simulated: item.simulated,
  };
}

function keepLast(list, count) {
  if (list.length > count) list.splice(0, list.length - count);
}

/** Whether these are one object of a device, come twice. */
function isSame(a, b) {
  return a.run !== undefined && a.sequence !== undefined && a.run === b.run && a.sequence === b.sequence;
}

class Device {
  sensors = new Map(); // name -> points in order of arrival
  readings = []; // messages with readings
  others = []; // messages with anything else
  commands = new Map(); // key -> command
  outcomes = new Map(); // command id -> items, one for each time that it was answered
  followUps = new Map(); // command id -> item of the latest event
  actuators = new Set(["beacon"]);

  addMessage(message) {
    const list = message.type === "reading" ? this.readings : this.others;
    list.push(message);
    keepLast(list, MESSAGES);
  }

  add(item) {
    if (item.type === "reading" && item.body) this.#addPoint(item);
    else this.#addOther(item);
  }

  #addPoint(item) {
    const sensor = text(item.body.sensor) ?? "unnamed";
    if (!this.sensors.has(sensor)) {
      if (this.sensors.size >= SENSORS) this.sensors.delete(this.sensors.keys().next().value);
      this.sensors.set(sensor, []);
    }
    const points = this.sensors.get(sensor);
    points.push(point(item));
    keepLast(points, POINTS);
  }

  #addOther(item) {
    const actuator = text(item.body?.actuator);
    if (actuator && this.actuators.size < 50) this.actuators.add(actuator);
    const id = text(item.body?.commandId) ?? text(item.correlationId);
    if (!id) return;
    if (item.type === "event") this.followUps.set(id, item);
    if (item.type === "outcome") {
      if (!this.outcomes.has(id)) this.outcomes.set(id, []);
      const told = this.outcomes.get(id);
      if (told.some((earlier) => isSame(earlier.body, item.body))) return;
      told.push(item);
      keepLast(told, COMMANDS);
    }
    for (const map of [this.followUps, this.outcomes]) {
      if (map.size > 4 * COMMANDS) map.delete(map.keys().next().value);
    }
  }

  setCommand(command) {
    this.commands.set(command.key, command);
    const actuator = text(command.body?.actuator);
    if (actuator && this.actuators.size < 50) this.actuators.add(actuator);
    if (this.commands.size > COMMANDS) {
      const oldest = [...this.commands.values()].reduce((a, b) => (a.sent <= b.sent ? a : b));
      this.commands.delete(oldest.key);
    }
  }

  /**
   * The commands, newest first, each with its outcome (as the device says it, or null) and the latest event
   * about it: [{command, id, outcome, followUp}]. Of commands with one id each has its own outcome, in turn.
   *
   * The device calls a command by its body's id; where that, or the body, will not do, by the message id.
   * Answers by a message id come first: the body's id may have been sent again, corrected.
   */
  sentCommands() {
    const turns = new Map();
    const own = new Set([...this.commands.values()].map((command) => text(command.body?.id)));
    const isByMessageId = ({ id }) => this.outcomes.has(id) && !own.has(id);
    const rows = [...this.commands.values()].sort((a, b) => a.sent - b.sent).map((command) => {
      const named = isByMessageId(command) ? command.id : text(command.body?.id);
      const id = named ?? text(command.answer?.commandId) ?? command.id;
      const turn = turns.get(id) ?? 0;
      turns.set(id, turn + 1);
      const item = this.outcomes.get(id)?.[turn];
      const answer = text(command.answer?.status) ? { body: command.answer, received: command.settled } : null;
      return { command, id, outcome: answer ?? item ?? null, followUp: this.followUps.get(id) ?? null };
    });
    return rows.reverse();
  }
}

export class Model {
  #devices = new Map();
  listed = []; // [{id, connected, enabled, proof}]
  faults = []; // what the hub was told to do wrong, in words

  /** Takes one line of the stream. */
  take(line) {
    if (line.kind === "snapshot") {
      this.#devices.clear();
      this.listed = line.devices;
      this.faults = line.faults;
      line.messages.forEach((message) => this.device(message.device).addMessage(message));
      line.items.forEach((item) => this.device(item.device).add(item));
      line.commands.forEach((command) => this.device(command.device).setCommand(command));
    } else if (line.kind === "devices") {
      this.listed = line.devices;
      const known = new Set(this.listed.map((device) => device.id));
      for (const id of this.#devices.keys()) if (!known.has(id)) this.#devices.delete(id);
    } else if (line.kind === "faults") {
      this.faults = line.faults;
    } else if (line.kind === "message") {
      this.device(line.message.device).addMessage(line.message);
    } else if (line.kind === "item") {
      this.device(line.item.device).add(line.item);
    } else if (line.kind === "command") {
      this.device(line.command.device).setCommand(line.command);
    }
  }

  device(id) {
    if (!this.#devices.has(id)) this.#devices.set(id, new Device());
    return this.#devices.get(id);
  }
}
