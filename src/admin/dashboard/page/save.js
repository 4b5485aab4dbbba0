// Files for whoever looks: the token goes into a header, so a link would not do.

import { ask } from "./api.js";
import { h } from "./dom.js";

// How long the browser may take to begin with it.
const KEPT = 10_000;

// Says how it went.
export async function save(path, name) {
  try {
    const answer = await ask(path, { stream: true, headers: { accept: "*/*" } });
    const url = URL.createObjectURL(await answer.blob());
    h("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), KEPT);
    return `${name} was saved.`;
  } catch (error) {
    return error.message;
  }
}
