// What the tests of the dashboard share: programs, and a browser whose complaints are counted.

import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { chromium } from "playwright-core";

export const [baton, browserPath, directory] = process.argv.slice(2).map((argument) => resolve(argument));
// How long anything may take to appear; what has to be quick is held to its own time.
export const PATIENCE = 15_000;

export const running = [];
rmSync(directory, { recursive: true, force: true });
mkdirSync(directory, { recursive: true });

// Starts a program and waits for a line.
export async function start(name, argv, line) {
  const child = spawn(baton, argv, { stdio: ["ignore", "pipe", "inherit"] });
  running.push(child);
  let said = "";
  child.stdout.setEncoding("utf8");
  return new Promise((done, failed) => {
    child.stdout.on("data", (text) => {
      said += text;
      if (line.test(said)) done({ child, said });
    });
    child.on("exit", (code) => failed(new Error(`${name} ended with ${code}: ${said}`)));
    setTimeout(() => failed(new Error(`${name} only said: ${said}`)), PATIENCE).unref();
  });
}

export const addressOf = (said, pattern) => said.match(pattern)[1];

export async function master(name, address = "127.0.0.1:0", ...more) {
  const { child, said } = await start(name, ["sample-master", "--name", name, "--listen", address, ...more], /listening on \S+\n/);
  return { child, address: addressOf(said, /listening on (\S+)/) };
}

export function killMasters() {
  for (const child of running.filter((child) => child.spawnargs.includes("sample-master"))) {
    child.removeAllListeners("exit");
    child.kill("SIGKILL");
  }
}

// A browser, a way to open pages in it, and what it complained of.
export async function browse() {
  const browser = await chromium.launch({
    executablePath: browserPath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const complaints = [];
  const open = async (options) => {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error.stack)));
    return page;
  };
  // What the API refuses the browser says aloud, too.
  const forgive = (status) => complaints.splice(0, complaints.length, ...complaints.filter((line) => !line.includes(status)));
  return { browser, complaints, forgive, open };
}

export const see = (locator) => locator.first().waitFor();

// Goes to a view by its link.
export async function view(page, name) {
  await page.getByRole("link", { name, exact: true }).click();
  await page.locator("nav a[aria-current]", { hasText: name }).waitFor();
}

// Nothing may be wider than a phone.
export async function fits(phone, admin, names, directory) {
  for (const name of names) {
    await phone.goto(`${admin}/#/${name}`);
    await phone.locator("#view .card").first().waitFor();
    const wide = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    if (wide > 0) throw new Error(`${name} is ${wide} px too wide`);
    await phone.screenshot({ path: `${directory}/phone-${name}.png`, fullPage: true });
  }
}

export const PHONE = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: "dark" };

// Whether this machine has too much to do for times to mean anything.
export const busy = () => Number(readFileSync("/proc/loadavg", "utf8").split(" ")[0]) > 3;
