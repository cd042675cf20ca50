// The push stream, read with fetch.

import { headers } from "./api.js";

const FIRST_RETRY_MS = 500;
const LAST_RETRY_MS = 10_000;
const SILENCE_MS = 40_000; // the hub says something every 15 s

/**
 * The push stream. Calls `onLine(object)` for each line and `onState(state)` for
 * "connecting", "live", "lost" and "refused"; comes back by itself, except after "refused".
 */
export class Stream {
  #abort = null;
  #wake = () => {};

  constructor(onLine, onState) {
    this.onLine = onLine;
    this.onState = onState;
    addEventListener("online", () => this.#wake());
    document.addEventListener("visibilitychange", () => this.#wake());
  }

  /** Starts, or starts anew with the token now in the address. */
  start() {
    this.#abort?.abort();
    this.#abort = new AbortController();
    this.#run(this.#abort.signal);
  }

  async #run(signal) {
    let retry = FIRST_RETRY_MS;
    this.onState("connecting");
    while (!signal.aborted) {
      const outcome = await this.#read(signal);
      if (signal.aborted) return;
      if (outcome === "refused") return this.onState("refused");
      if (outcome === "ended") retry = FIRST_RETRY_MS;
      this.onState("lost");
      await this.#pause(retry * (0.75 + Math.random() / 2));
      retry = Math.min(retry * 2, LAST_RETRY_MS);
    }
  }

  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => { clearTimeout(timer); resolve(); };
    });
  }

  /** One connection: "refused" (the token), "ended" (after it had worked) or "failed". */
  async #read(signal) {
    const connection = new AbortController();
    const stop = () => connection.abort();
    signal.addEventListener("abort", stop);
    let silence = setTimeout(stop, SILENCE_MS);
    let worked = false;
    try {
      const response = await fetch("api/stream", { headers: headers(), cache: "no-store", signal: connection.signal });
      if (response.status === 401) return "refused";
      if (!response.ok) return "failed";
      let rest = "";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(silence);
        silence = setTimeout(stop, SILENCE_MS);
        const lines = (rest + value).split("\n");
        rest = lines.pop();
        for (const line of lines) {
          if (signal.aborted) return "ended";
          this.onLine(JSON.parse(line));
          if (!worked) this.onState("live");
          worked = true;
        }
      }
    } catch (error) {
      if (!(error instanceof TypeError) && error.name !== "AbortError") console.error(error);
    } finally {
      clearTimeout(silence);
      signal.removeEventListener("abort", stop);
      connection.abort();
    }
    return worked ? "ended" : "failed";
  }
}
