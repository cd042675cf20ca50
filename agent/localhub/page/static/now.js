// The latest reading, large.

import { byId, setText, svg } from "./dom.js";
import { direction, duration, speed, time } from "./format.js";

/** The dial; returns its needle, which is turned to where the wind comes from. */
function buildCompass(box) {
  const ticks = [];
  for (let degrees = 0; degrees < 360; degrees += 10) {
    const length = degrees % 90 === 0 ? 7 : degrees % 30 === 0 ? 5 : 2.5;
    ticks.push(svg("line", { class: "dial-tick", y1: -56, y2: -56 + length, transform: `rotate(${degrees})` }));
  }
  const letters = [["N", 0, -38], ["E", 39, 0], ["S", 0, 38], ["W", -39, 0]].map(
    ([letter, x, y]) => svg("text", { class: `dial-letter${letter === "N" ? " north" : ""}`, x, y }, letter));
  const needle = svg("g", { class: "needle", visibility: "hidden" },
    svg("path", { class: "needle-tail", d: "M0 -54V-30" }),
    svg("path", { class: "needle-head", d: "M0 26L-8 -30L0 -24L8 -30Z" }));
  box.append(svg("circle", { class: "dial-rim", r: 56.5 }), ...ticks, ...letters, needle);
  return needle;
}

export class Now {
  constructor() {
    this.needle = buildCompass(byId("compass"));
    this.point = null;
  }

  show(sensor, point) {
    this.point = point;
    const reading = point ?? { speed: null, gust: null, direction: null, flags: [] };
    setText(byId("speed"), speed(reading.speed));
    setText(byId("gust"), speed(reading.gust));
    setText(byId("direction"), direction(reading.direction));
    this.needle.setAttribute("visibility", reading.direction === null ? "hidden" : "visible");
    if (reading.direction !== null) this.needle.setAttribute("transform", `rotate(${reading.direction})`);
    byId("simulated").hidden = !reading.simulated;
    setText(byId("sensor"), sensor ?? "–");
    setText(byId("quality"), [reading.quality ?? "–", ...reading.flags].join(" · "));
    byId("quality").dataset.state = !point || reading.quality === "good" ? "" : "warn";
    setText(byId("time"), point ? time(point.time) : "no reading yet");
    setText(byId("clock"), reading.clock ?? "–");
    byId("clock").dataset.state = !point || reading.clock === "synchronised" ? "" : "warn";
    this.tick();
  }

  /** Once a second: how old the reading is; an old one is not shown as if it were the wind now. */
  tick() {
    const ageMs = this.point ? Date.now() - this.point.received : 0;
    const stale = this.point !== null && ageMs > 3 * this.point.intervalMs + 2000;
    document.querySelector(".now").classList.toggle("stale", stale);
    setText(byId("age"), stale ? `received ${duration(ageMs)} ago` : "");
  }
}
