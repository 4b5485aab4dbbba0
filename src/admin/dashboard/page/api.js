// The admin API. The token stays in this tab, and goes nowhere but into a header.

const KEPT = "baton-token";

export const token = {
  get: () => sessionStorage.getItem(KEPT),
  set: (value) => sessionStorage.setItem(KEPT, value),
  clear: () => sessionStorage.removeItem(KEPT),
};

// Whom the token names, as it says itself; whether it is good the API decides.
export function bearer() {
  try {
    const middle = token.get().split(".")[1].replaceAll("-", "+").replaceAll("_", "/");
    const { sub, role } = JSON.parse(atob(middle));
    return { name: String(sub ?? ""), role: String(role ?? "") };
  } catch {
    return null;
  }
}

// What the API refused, in its words.
export class Refused extends Error {
  constructor(status, problem) {
    super(problem?.detail || problem?.title || `the answer was ${status}`);
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  const headers = { accept: "application/json", ...options.headers };
  if (token.get()) headers.authorization = `Bearer ${token.get()}`;
  if (options.body !== undefined) headers["content-type"] = "application/json";
  const answer = await fetch(path, {
    method: options.method ?? "GET",
    headers,
    body: options.body === undefined ? undefined : JSON.stringify(options.body),
    cache: "no-store",
    credentials: "omit",
    signal: options.signal,
  });
  if (answer.ok) return options.stream ? answer : answer.json();
  throw new Refused(answer.status, await answer.json().catch(() => null));
}

export const get = (path, signal) => ask(path, { signal });
export const remove = (path) => ask(path, { method: "DELETE" });
export const post = (path, body) => ask(path, { method: "POST", body });
