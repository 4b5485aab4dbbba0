// Signing in and out with a token.

import { bearer, token } from "./api.js";
import { h, show } from "./dom.js";
import { changed, refresh } from "./live.js";

export function signIn(why, then) {
  const dialog = document.getElementById("dialog");
  const submit = async (event) => {
    event.preventDefault();
    const value = document.getElementById("token").value.trim();
    if (!value) return;
    token.set(value);
    dialog.close();
    await refresh();
    then?.();
  };
  show(dialog, h("form", { method: "dialog", onsubmit: submit },
    h("h2", { id: "dialog-title" }, "Sign in"),
    why && h("p", {}, why),
    h("p", { class: "soft" }, "A token comes from ", h("code", {}, "baton token --role operator"), ". It stays in this tab, until it is closed."),
    h("label", { for: "token" }, "Token"),
    h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false" }),
    h("div", { class: "buttons" },
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      h("button", { class: "main" }, "Sign in"))));
  if (!dialog.open) dialog.showModal();
}

export function session() {
  const who = token.get() ? bearer() : null;
  const leave = () => {
    token.clear();
    changed();
    void refresh();
  };
  return who || token.get()
    ? [h("span", { class: "soft" }, who ? `${who.name}, ${who.role} ` : "a token "), h("button", { type: "button", onclick: leave }, "Sign out")]
    : [h("button", { type: "button", onclick: () => signIn() }, "Sign in")];
}
