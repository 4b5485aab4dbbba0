// The question before each action: what would follow, and why it is done.

import { Refused, token } from "./api.js";
import { h, show } from "./dom.js";
import { refresh } from "./live.js";
import { signIn } from "./session.js";

const REASON_MAX = 200;
// The question that has the dialog: answers to others come too late.
let asking = 0;

// `preview` is what would follow, in lines, or asks for them with the values of `fields`; nothing is done that was not asked about.
// `act` is given the reason and the values. What it returns is read before the dialog is closed, and its failure is shown in place.
export function confirm(question) {
  const { title, fields, preview, word, act, unexplained = false } = question;
  if (!token.get()) return signIn("Changes need a token of an operator.", () => confirm(question));
  const dialog = document.getElementById("dialog");
  const mine = ++asking;
  const asks = typeof preview === "function";
  const now = { lines: asks ? null : preview, of: null, failed: null, busy: false, done: null };
  const mayDraw = () => mine === asking && dialog.open;
  const form = () => dialog.querySelector("form");
  const values = () => Object.fromEntries(new FormData(form()));
  const draw = () => show(dialog, h("form", { method: "dialog", onsubmit: submit, oninput: (event) => event.target.name && look() },
    h("h2", { id: "dialog-title" }, title),
    now.done === null ? body() : h("p", { role: "status" }, h("span", { class: "state ok" }, "done"), ` ${now.done}`),
    h("p", { class: "error", role: "alert", hidden: !now.failed }, now.failed ?? ""),
    h("div", { class: "buttons" },
      now.done === null && h("button", { type: "button", id: "cancel", onclick: () => dialog.close() }, "Cancel"),
      // Not `disabled`, with which it would lose the focus.
      h("button", { class: "main", id: "act", "aria-disabled": String(now.done === null && (now.busy || now.lines === null)) }, now.done === null ? word : "Close"))));
  const body = () => [
    fields?.(),
    h("ul", { class: "plain", id: "preview", "aria-live": "polite" },
      (now.lines ?? [now.failed ? "Nothing is done." : "Asking what would follow."]).map((line) => h("li", {}, line))),
    !unexplained && [
      h("label", { for: "reason" }, "Why (for the audit trail)"),
      h("input", { id: "reason", maxlength: REASON_MAX, autocomplete: "off" })],
  ];
  const fail = (error, unreached) => {
    now.busy = false;
    now.failed = error instanceof Refused ? error.message : unreached;
    draw();
    if (error instanceof Refused && error.status === 401) {
      asking += 1;
      signIn(now.failed, () => confirm(question));
    }
  };
  const look = async () => {
    if (!asks || now.busy) return;
    const of = JSON.stringify(values());
    const wrong = form().querySelector(":invalid");
    Object.assign(now, { lines: null, of, failed: wrong?.validationMessage ?? null });
    draw();
    if (wrong) return;
    try {
      const lines = await preview(values());
      if (now.of !== of || !mayDraw()) return;
      now.lines = lines;
      draw();
    } catch (error) {
      if (now.of === of && mayDraw()) fail(error, "Baton cannot be reached.");
    }
  };
  const submit = async (event) => {
    event.preventDefault();
    if (now.done !== null) return dialog.close();
    if (now.busy || now.lines === null) return;
    if (asks && now.of !== JSON.stringify(values())) return look();
    const given = [document.getElementById("reason")?.value.trim() ?? "", values()];
    Object.assign(now, { busy: true, failed: null });
    draw();
    try {
      const done = await act(...given);
      if (mayDraw() && typeof done === "string") {
        now.done = done;
        draw();
      } else if (mayDraw()) dialog.close();
      await refresh();
    } catch (error) {
      if (mayDraw()) fail(error, "Baton cannot be reached: whether it was done is not known.");
    }
  };
  // Nothing of the question before, such as its reason.
  dialog.replaceChildren();
  draw();
  if (!dialog.open) dialog.showModal();
  void look();
}

// A reason as the API takes it.
export const because = (reason) => (reason ? { reason } : {});
