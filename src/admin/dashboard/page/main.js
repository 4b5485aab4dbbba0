// The page: which view, and everything drawn anew when something has changed.

import { alerts } from "./alerts.js";
import { audit } from "./audit.js";
import { h, show } from "./dom.js";
import { failovers } from "./failovers.js";
import { flow } from "./flow.js";
import { since } from "./format.js";
import { begin, onChange, state } from "./live.js";
import { masters } from "./masters.js";
import { messages } from "./messages.js";
import { overview } from "./overview.js";
import { session, signIn } from "./session.js";
import { serviceLevel } from "./sla.js";
import { timeline } from "./timeline.js";

const VIEWS = {
  overview: ["Overview", overview],
  masters: ["Masters", masters],
  flow: ["Flow", flow],
  failovers: ["Failovers", failovers],
  timeline: ["Timeline", timeline],
  alerts: ["Alerts", alerts],
  messages: ["Messages", messages],
  sla: ["Service level", serviceLevel],
  audit: ["Audit", audit],
};

const element = (id) => document.getElementById(id);
const current = () => (location.hash.slice(2) in VIEWS ? location.hash.slice(2) : "overview");

let due = false;
let asked = false;

function draw() {
  due = false;
  show(element("tabs"), Object.entries(VIEWS).map(([name, [words]]) => h("a", { href: `#/${name}`, "aria-current": name === current() ? "page" : null }, words)));
  show(element("session"), session());
  notice();
  if (state.status) show(element("view"), VIEWS[current()][1]());
  document.title = title();
}

// The tab says whether to look.
function title() {
  const standing = state.status?.standing?.state;
  return state.lost ? "? Baton" : standing === "down" ? "✕ Baton" : standing === "impaired" ? "! Baton" : "Baton";
}

function notice() {
  const words = state.refused ? `Baton does not show itself: ${state.refused.message}`
    : state.lost ? `Baton has not answered for ${since(state.lost)}: what is shown is of before.` : "";
  element("notice").hidden = words === "";
  if (element("notice").textContent !== words) element("notice").textContent = words;
  if (state.refused?.status === 401 && !asked && !element("dialog").open) {
    asked = true;
    signIn(state.refused.message);
  }
}

onChange(() => {
  if (due) return;
  due = true;
  requestAnimationFrame(draw);
});
addEventListener("hashchange", () => {
  draw();
  element("view").focus({ preventScroll: true });
  scrollTo(0, 0);
});
draw();
begin();
