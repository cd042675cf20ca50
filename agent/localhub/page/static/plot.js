// Speed and gust as lines, direction as dots on a strip of its own (a line would jump at north).
// The gust is the highest in a minute: the 3-s means of a report that is shorter say little on their own.
// Nothing is drawn across a missing value or a missing report.

import { setText, svg } from "./dom.js";
import { direction, speed, tick, time } from "./format.js";

const LEFT = 40, RIGHT = 18, TOP = 24, SPEED_HEIGHT = 210, GAP = 46, STRIP_HEIGHT = 92, AXIS = 24;
const HEIGHT = TOP + SPEED_HEIGHT + GAP + STRIP_HEIGHT + AXIS;
const STRIP_TOP = TOP + SPEED_HEIGHT + GAP;
const STEPS_S = [5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 604_800];
const GUST_MS = 60_000;
const LEAST_POINTS = 60; // the axis is at least this many reports wide
const MOST_POINTS = 600;

/** The step of an axis from 0 to `max` with at most `count` steps: 1, 2 or 5 times a power of ten. */
function niceStep(max, count) {
  const power = 10 ** Math.floor(Math.log10(max / count));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => step * count >= max * (1 - 1e-9));
}

/** Path of a line through [x, y | null, time]; broken at a null and where more than `gapMs` lie between. */
function linePath(points, gapMs) {
  const runs = [];
  let before = null;
  for (const [x, y, at] of points) {
    if (y !== null) {
      if (before === null || at - before > gapMs) runs.push([]);
      runs.at(-1).push(`${x.toFixed(1)} ${y.toFixed(1)}`);
    }
    before = y === null ? null : at;
  }
  // a value that stands alone is a short dash: a line needs two
  return runs.map((run) => (run.length === 1 ? `M${run[0]}m-2 0h4` : `M${run.join("L")}`)).join("");
}

/** The highest gust of the last minute at each point, in order of time; null where the point has none. */
function peaks(points) {
  const found = new Map();
  let first = 0;
  points.forEach((point, i) => {
    while (points[first].time <= point.time - GUST_MS) first += 1;
    const gusts = points.slice(first, i + 1).map((p) => p.gust).filter((gust) => gust !== null);
    found.set(point, point.gust === null ? null : Math.max(...gusts));
  });
  return found;
}

export class Plot {
  #points = [];
  #scale = null;
  #cursor = null; // the point under it, which it stays with
  #queued = false;

  constructor(box, readout) {
    this.box = box;
    this.readout = readout;
    this.image = svg("svg", { height: HEIGHT, "aria-hidden": "true" });
    box.append(this.image);
    new ResizeObserver(() => this.#queue()).observe(box);
    box.addEventListener("pointermove", (event) => this.#point(event));
    box.addEventListener("pointerleave", () => this.#setCursor(null));
    box.addEventListener("blur", () => this.#setCursor(null));
    box.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Points in order of arrival. */
  show(points) {
    this.#points = points;
    if (!points.includes(this.#cursor)) this.#cursor = null;
    this.#queue();
  }

  #queue() {
    if (this.#queued) return;
    this.#queued = true;
    requestAnimationFrame(() => { this.#queued = false; this.#draw(); });
  }

  /** The axis ends at the newest report; a clock that was wrong before puts its points outside, not the axis. */
  #measure() {
    const newest = this.#points.at(-1);
    if (!newest) return null;
    const end = newest.time;
    const most = MOST_POINTS * newest.intervalMs * 1.5;
    let visible = this.#points.filter((point) => point.time <= end && point.time >= end - most);
    visible.sort((a, b) => a.time - b.time);
    const span = Math.max(LEAST_POINTS * newest.intervalMs, end - visible[0].time);
    const width = Math.max(this.box.clientWidth, 200);
    const peak = peaks(visible);
    const highest = Math.max(4, ...visible.map((point) => Math.max(point.speed ?? 0, peak.get(point) ?? 0)));
    const step = niceStep(highest * 1.04, 6);
    const top = Math.ceil((highest * 1.04) / step) * step;
    return {
      visible, peak, end, span, width, step, top, gapMs: 2.5 * newest.intervalMs,
      x: (at) => LEFT + (1 - (end - at) / span) * (width - LEFT - RIGHT),
      y: (value) => TOP + (1 - value / top) * SPEED_HEIGHT,
      strip: (degrees) => STRIP_TOP + (1 - degrees / 360) * STRIP_HEIGHT,
    };
  }

  #draw() {
    const scale = (this.#scale = this.#measure());
    const width = scale?.width ?? Math.max(this.box.clientWidth, 200);
    this.image.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    this.image.setAttribute("width", width);
    if (!scale) {
      const words = svg("text", { class: "none", x: width / 2, y: HEIGHT / 2 }, "No readings yet");
      this.image.replaceChildren(words);
      return;
    }
    const { visible, peak, x, y, strip, gapMs } = scale;
    const line = (of) => linePath(visible.map((p) => [x(p.time), of(p) === null ? null : y(of(p)), p.time]), gapMs);
    const dots = visible.filter((p) => p.direction !== null)
      .map((p) => `M${x(p.time).toFixed(1)} ${strip(p.direction % 360).toFixed(1)}h0`).join("");
    this.image.replaceChildren(
      ...this.#axes(scale),
      svg("path", { class: "line gust", d: line((p) => peak.get(p)) }),
      svg("path", { class: "line speed", d: line((p) => p.speed) }),
      svg("path", { class: "dots", d: dots }),
      ...this.#cursorMarks(scale),
    );
    this.#say();
  }

  #axes({ width, step, top, end, span, x, y, strip }) {
    const nodes = [svg("text", { class: "axis unit-name", x: LEFT - 9, y: 9 }, "m/s"),
      svg("text", { class: "axis unit-name", x: LEFT - 9, y: STRIP_TOP - 15 }, "from")];
    const row = (at, label, strong) => nodes.push(
      svg("line", { class: strong ? "rule base" : "rule", x1: LEFT, x2: width - RIGHT, y1: at, y2: at }),
      svg("text", { class: "axis left", x: LEFT - 9, y: at }, label));
    const decimals = step < 1 ? 1 : 0;
    for (let i = 0; i * step <= top + 1e-9; i += 1) row(Math.round(y(i * step)) + 0.5, (i * step).toFixed(decimals), i === 0);
    ["N", "E", "S", "W", "N"].forEach((letter, i) => row(Math.round(strip(i * 90)) + 0.5, letter, i === 0));
    const room = Math.max(2, Math.floor((width - LEFT - RIGHT) / 76));
    const every = 1000 * (STEPS_S.find((s) => (span / 1000 / s) <= room) ?? STEPS_S.at(-1));
    const zone = new Date(end).getTimezoneOffset() * 60_000;
    for (let at = Math.ceil((end - span - zone) / every) * every + zone; at <= end; at += every) {
      const place = Math.round(x(at)) + 0.5;
      nodes.push(svg("line", { class: "rule upright", x1: place, x2: place, y1: TOP, y2: STRIP_TOP + STRIP_HEIGHT }));
      if (every >= 60_000 || place < width - 30) nodes.push(svg("text", { class: "axis bottom", x: place, y: HEIGHT - 5 }, tick(at, every)));
    }
    return nodes;
  }

  #cursorMarks({ visible, peak, x, y, strip }) {
    const point = this.#cursor;
    if (!visible.includes(point)) return [];
    const place = x(point.time);
    const mark = (kind, at) => svg("circle", { class: `mark ${kind}`, cx: place, cy: at, r: 4 });
    return [
      svg("line", { class: "cursor", x1: place, x2: place, y1: TOP, y2: STRIP_TOP + STRIP_HEIGHT }),
      ...(point.gust === null ? [] : [mark("gust", y(peak.get(point)))]),
      ...(point.speed === null ? [] : [mark("speed", y(point.speed))]),
      ...(point.direction === null ? [] : [mark("dir", strip(point.direction % 360))]),
    ];
  }

  #point(event) {
    if (!this.#scale) return;
    const at = event.clientX - this.image.getBoundingClientRect().left;
    const distance = (point) => Math.abs(this.#scale.x(point.time) - at);
    const { visible } = this.#scale;
    this.#setCursor(visible.reduce((nearest, point) => (distance(point) < distance(nearest) ? point : nearest)));
  }

  #key(event) {
    const visible = this.#scale?.visible ?? [];
    const last = visible.length - 1;
    const from = visible.includes(this.#cursor) ? visible.indexOf(this.#cursor) : last + 1;
    const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.#setCursor(to === null ? null : visible[Math.min(Math.max(to, 0), last)]);
  }

  #setCursor(point) {
    if (point === this.#cursor) return;
    this.#cursor = point;
    this.#queue();
  }

  #say() {
    const point = this.#cursor;
    setText(this.readout, point
      ? `${time(point.time)}: ${speed(point.speed)} m/s, gust ${speed(point.gust)} m/s, from ${direction(point.direction)}`
      : "");
  }
}
