// How numbers, directions and times are written.

const WINDS = ["N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE", "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW"];
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const shortClock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { year: "numeric", month: "short", day: "numeric" });

/** The sixteen-point compass word of a direction in degrees. */
export const windName = (degrees) => WINDS[Math.round(degrees / 22.5) % 16];

/** A speed in m/s to one decimal, a dash if there is none. */
export const speed = (value) => (value === null ? "–" : value.toFixed(1));

/** "231° SW", a dash if there is none. */
export const direction = (degrees) => (degrees === null ? "–" : `${String(Math.round(degrees) % 360).padStart(3, "0")}° ${windName(degrees)}`);

/** Local time of day, with the date unless it is today. */
export function time(ms) {
  const date = new Date(ms);
  const text = clock.format(date);
  return date.toDateString() === new Date().toDateString() ? text : `${day.format(date)}, ${text}`;
}

/** A tick of a time axis whose steps are `step` milliseconds. */
export function tick(ms, step) {
  if (step >= 86_400_000) return day.format(ms);
  return (step < 60_000 ? clock : shortClock).format(ms);
}

/** "873 bytes", "12.4 kB". */
export const size = (bytes) => (bytes < 10_000 ? `${bytes} bytes` : `${(bytes / 1000).toFixed(1)} kB`);

/** A duration in words, in its largest whole unit. */
export function duration(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} days`;
}
