// What is shown is asked for here: the status each second and after every event, plots and alerts every two, events as they come. Nothing is
// asked while nobody looks.

import { ask, get, Refused } from "./api.js";

const EVENTS_KEPT = 500;
// After an event the monitor looks again within a tenth of a second.
const AFTER_EVENT = 200;
const ALERTS_SHOWN = 100;
const RANGES = { "10m": 600, "6h": 360, "30d": 400 };

// Everything that views show. `refused` is why nothing may be read, `lost` since when nothing is heard.
export const state = { status: null, trends: null, alerts: null, events: [], range: "10m", series: "system", refused: null, lost: null };

const listeners = new Set();
export const onChange = (listener) => listeners.add(listener);
export const changed = () => listeners.forEach((listener) => listener());

export function choose(series, range = state.range) {
  if (series === state.series && range === state.range) return;
  Object.assign(state, { series, range, trends: null });
  void trends();
  changed();
}

export function begin() {
  void repeat(status, 1000);
  void repeat(trends, 2000);
  void repeat(alerts, 2000);
  void follow();
}

// Asked again at once, after something was done.
export const refresh = () => Promise.all([status(), trends(), alerts()]);

async function repeat(action, pause) {
  for (;;) {
    if (!document.hidden) await action();
    await wait(pause);
  }
}

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function status() {
  try {
    state.status = await get("/api/v1/status", AbortSignal.timeout(5000));
    state.refused = state.lost = null;
  } catch (error) {
    if (error instanceof Refused) state.refused = error;
    else state.lost ??= Date.now();
  }
  changed();
}

// Many events are one question.
let asked = false;
function soon() {
  if (asked || document.hidden) return;
  asked = true;
  setTimeout(() => {
    asked = false;
    void status();
    void alerts();
  }, AFTER_EVENT);
}

async function alerts() {
  try {
    state.alerts = (await get(`/api/v1/alerts?limit=${ALERTS_SHOWN}`, AbortSignal.timeout(5000))).items;
  } catch {
    // The status tells what is wrong.
  }
  changed();
}

async function trends() {
  const { series, range } = state;
  const query = new URLSearchParams({ series, range, points: RANGES[range] });
  try {
    const found = await get(`/api/v1/trends?${query}`, AbortSignal.timeout(5000));
    if (series === state.series && range === state.range) state.trends = { start: found.start, step: found.step_seconds, ...found.series[0] };
  } catch {
    // The status tells what is wrong.
  }
  changed();
}

// Follows the events from where it was, over every end of the stream.
async function follow() {
  let last = null;
  for (;;) {
    try {
      if (last === null) {
        const page = await get("/api/v1/events/recent?limit=200");
        state.events = page.items;
        last = page.items[0]?.id ?? 0;
        changed();
      }
      const headers = last > 0 ? { "last-event-id": String(last) } : {};
      const answer = await ask("/api/v1/events", { stream: true, headers: { ...headers, accept: "text/event-stream" } });
      for await (const event of read(answer.body)) {
        last = event.id;
        state.events = [event, ...state.events].slice(0, EVENTS_KEPT);
        changed();
        soon();
      }
    } catch {
      last = state.events[0]?.id ?? null;
    }
    await wait(1000);
  }
}

// Events out of a stream of server-sent ones (HTML Living Standard, 9.2.6).
async function* read(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const data = block.split("\n").filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trim());
      if (data.length === 0) continue;
      const event = JSON.parse(data.join("\n"));
      if (event.id && event.kind) yield event;
    }
  }
}
