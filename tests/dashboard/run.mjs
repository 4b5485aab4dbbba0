// The dashboard in a real Chromium, before a real Baton with real bots: each view, each action, a failure watched live, and not one
// complaint of the browser.
//
//   node tests/dashboard/run.mjs BATON CHROMIUM DIRECTORY

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHmac } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { addressOf, baton, browse, busy, directory, fits, killMasters, master, PHONE, running, see, start, view as go } from "./kit.mjs";
import { operate } from "./operate.mjs";

const SECRET = "not a secret but in this test";
const BYTES_MAX = 200_000;
// From a fault to its being read, milliseconds.
const NOTICED_MAX = 2000;

// A message with markup where a name belongs.
function webhook(id) {
  const message = { from: "971501234567", id, timestamp: "1764000000", type: "text", text: { body: "hello" } };
  const value = { messaging_product: "whatsapp", metadata: { display_phone_number: "15550000000", phone_number_id: "106540352242922" }, messages: [message] };
  return JSON.stringify({ object: "whatsapp_business_account", entry: [{ id: "1", changes: [{ field: "messages", value }] }] });
}

async function send(gateway, id) {
  const body = webhook(id);
  const signature = createHmac("sha256", SECRET).update(body).digest("hex");
  const answer = await fetch(`http://${gateway}/webhook`, { method: "POST", body, headers: { "content-type": "application/json", "x-hub-signature-256": `sha256=${signature}` } });
  assert.equal(answer.status, 200);
}

async function test(say) {
  const [first, second] = [await master("dubai-1"), await master("riyadh-1")];
  const configuration = `${directory}/baton.yaml`;
  writeFileSync(configuration, `
listeners: [{ name: gateway, address: "127.0.0.1:0" }]
routes:
  - name: webhooks
    upstream: bots
    delivery: spool
    whatsapp: { provider: cloud-api, app_secret: "${SECRET}", verify_token: "of no use here" }
  - { name: others, match: { path_prefix: /other }, upstream: bots, sla: { objective: 99.9 } }
upstreams:
  - name: bots
    masters: [{ name: dubai-1, address: "${first.address}" }, { name: riyadh-1, address: "${second.address}" }]
    health_check: { interval: 500ms, timeout: 400ms, unhealthy_threshold: 2, http: { path: /health } }
    redelivery: { attempts: 1, backoff: 100ms }
state: { path: "${directory}/data" }
admin: { address: "127.0.0.1:0" }
logging: { level: warn, access_log: "off" }
`);
  const { said } = await start("baton", ["run", "--config", configuration], /^ready$/m);
  const [gateway, admin] = [addressOf(said, /listening on http:\/\/(\S+)/), addressOf(said, /admin on (\S+)/)];
  const token = execFileSync(baton, ["token", "--role", "operator", "--config", configuration], { encoding: "utf8" }).trim();

  const { browser, complaints, forgive, open } = await browse();
  try {
    const page = await open({ viewport: { width: 1280, height: 900 } });
    const sizes = [];
    // What has not come when the browser is closed is of no interest.
    page.on("response", async (answer) => new URL(answer.url()).pathname.startsWith("/api") || sizes.push((await answer.body().catch(() => "")).length));
    const text = (words) => page.getByText(words);
    const view = (name) => go(page, name);
    const row = (name) => page.locator(`#master-bots-${name}`);

    say("the first screen says that all is well, soon and in few bytes");
    const began = Date.now();
    await page.goto(admin);
    await see(text("Baton 0."));
    const drawn = Date.now() - began;
    await see(text("All is well: customers are being answered"));
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    assert.ok(sizes.length > 10 && bytes < BYTES_MAX, String(sizes));
    await page.locator("#plot-traffic path.line[d*='L']").waitFor({ state: "attached" });
    await page.screenshot({ path: `${directory}/overview.png`, fullPage: true });

    say("a master that is killed is on the page, with when and why");
    let [victim, noticed] = [first, Infinity];
    // Once more where something else kept this machine from it.
    for (let attempt = 0; attempt < 3 && noticed >= NOTICED_MAX; attempt += 1) {
      victim.child.removeAllListeners("exit");
      victim.child.kill("SIGKILL");
      const killed = Date.now();
      await see(text("Customers are being answered, but not all is well"));
      noticed = Date.now() - killed;
      await see(page.locator("#verdict li", { hasText: "dubai-1" }));
      await page.screenshot({ path: `${directory}/failed.png`, fullPage: true });
      victim = await master("dubai-1", first.address);
      await see(text("All is well: customers are being answered"));
    }

    say("a change asks for a token, says what would follow, and is done");
    await view("Masters");
    await see(row("riyadh-1").getByText("well"));
    await row("riyadh-1").getByRole("button", { name: "drain" }).click();
    await page.getByLabel("Token").fill("nonsense");
    await page.getByRole("dialog").getByRole("button", { name: "Sign in" }).click();
    await see(page.getByRole("dialog").getByText("no JWT"));
    await page.getByLabel("Token").fill(token);
    await page.getByRole("dialog").getByRole("button", { name: "Sign in" }).click();
    await see(page.locator("#preview", { hasText: "New conversations go to dubai-1." }));
    await page.getByLabel("Why").fill("a look at its disk");
    await page.getByRole("button", { name: "Set to drain" }).click();
    await see(row("riyadh-1").getByText("draining"));
    await row("dubai-1").getByRole("button", { name: "maintenance" }).click();
    await see(page.locator("#preview", { hasText: /It is not probed any more\./ }));
    await page.keyboard.press("Escape");
    await row("riyadh-1").getByRole("button", { name: "ready" }).click();
    await page.getByRole("button", { name: "Set to ready" }).click();
    await see(row("riyadh-1").getByText("well"));
    await page.screenshot({ path: `${directory}/masters.png`, fullPage: true });
    // The wrong token is refused aloud, by the browser too.
    forgive("401");

    say("what happened is told as it happens, and can be searched");
    await view("Timeline");
    await see(page.locator("#events li", { hasText: "riyadh-1" }));
    await page.getByLabel("about").fill("dubai");
    await page.locator("#events li", { hasText: "riyadh-1" }).first().waitFor({ state: "detached" });
    await see(page.locator("#events li", { hasText: "dubai-1" }));

    say("the way from routes to masters is drawn");
    await view("Flow");
    await see(page.locator("svg.flow text", { hasText: "riyadh-1" }));
    await page.screenshot({ path: `${directory}/flow.png`, fullPage: true });

    say("messages that wait and that died are there, as text whatever is in them, and can be replayed");
    await view("Messages");
    await see(text("Every message that was accepted has been delivered."));
    killMasters();
    await send(gateway, "wamid.<img src=x onerror=alert(1)>");
    await see(page.locator("td.text", { hasText: "<img src=x onerror=alert(1)>" }));
    assert.equal(await page.locator("#view img").count(), 0);
    await view("Overview");
    await see(text("Customers are not being answered"));
    await see(text("1 message waits"));
    await page.screenshot({ path: `${directory}/down.png`, fullPage: true });

    say("an alert is seen, looked after and kept quiet, each with a reason");
    await see(page.locator("#alert-line", { hasText: "nobody looks after" }));
    await view("Alerts");
    const alert = (name) => page.locator("#alerts li", { hasText: name });
    await alert("no-usable-master").getByRole("button", { name: /^acknowledge/ }).click();
    await page.getByLabel("Why").fill("they are being restarted");
    await page.getByRole("dialog").getByRole("button", { name: "Acknowledge" }).click();
    await see(alert("operator looks after it").getByText("they are being restarted"));
    await alert("master dubai-1 of bots has failed").getByRole("button", { name: /^silence/ }).click();
    await page.locator("#duration").selectOption("8h");
    await page.getByRole("dialog").getByRole("button", { name: "Silence" }).click();
    await see(page.getByRole("dialog").getByRole("alert"));
    await page.getByLabel("Why").fill("known");
    await page.getByRole("dialog").getByRole("button", { name: "Silence" }).click();
    await see(page.locator("#silences li", { hasText: "known" }));
    await page.screenshot({ path: `${directory}/alerts.png`, fullPage: true });
    await page.getByRole("button", { name: /^end the silence/ }).click();
    await page.getByRole("dialog").getByRole("button", { name: "End it" }).click();
    await page.getByRole("button", { name: /^end the silence/ }).waitFor({ state: "detached" });
    // A silence without a reason is refused aloud, by the browser too.
    forgive("422");
    await view("Overview");

    // It refuses every signature, so the message dies of it.
    await master("dubai-1", first.address, "--app-secret", "another secret");
    await view("Messages");
    await page.getByRole("button", { name: /^replay wamid/ }).click();
    killMasters();
    await master("dubai-1", first.address);
    await master("riyadh-1", second.address);
    await see(page.locator("#preview", { hasText: "1 message is delivered again" }));
    await page.getByRole("dialog").getByRole("button", { name: "Replay" }).click();
    await see(text("None."));
    await see(text("Every message that was accepted has been delivered."));

    say("what was promised is there with its budget, and the month can be saved");
    await view("Service level");
    const promise = page.locator("#sla-route-others");
    await see(promise.getByText("99.9 % of requests over 30 d"));
    await see(promise.locator("meter"));
    await see(page.locator("#availability tr", { hasText: "master/bots/dubai-1" }));
    const [saved] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Save as HTML" }).click()]);
    const report = readFileSync(await saved.path(), "utf8");
    assert.ok(report.includes("route/others") && /sla-\d{4}-\d{2}\.html/.test(saved.suggestedFilename()), saved.suggestedFilename());
    await page.screenshot({ path: `${directory}/sla.png`, fullPage: true });
    const paper = await open();
    await paper.setContent(report);
    await see(paper.getByText("Service level report"));

    await view("Alerts");
    await see(page.locator("#alert-history tr", { hasText: "no-usable-master" }).getByText("operator"));

    say("everything is reached by keyboard");
    await page.goto(`${admin}/#/overview`);
    await page.reload();
    await see(text("All is well"));
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the content");
    for (let press = 0; press < 2; press += 1) await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await see(page.locator("nav a[aria-current]", { hasText: "Masters" }));

    say("it fits a phone, in the dark too");
    const phone = await open(PHONE);
    await fits(phone, admin, ["overview", "masters", "flow", "timeline", "alerts", "messages", "sla"], directory);

    assert.deepEqual(complaints, []);
    say(`drawn after ${drawn} ms, ${bytes} bytes; a killed master was shown after ${noticed} ms`);
    assert.ok(noticed < NOTICED_MAX || busy(), `it took ${noticed} ms to show a killed master`);
    assert.ok(drawn < 1000 || busy(), `it took ${drawn} ms to draw the first screen`);
  } finally {
    await browser.close();
  }
}

try {
  await test((line) => console.log(line));
  await operate((line) => console.log(line));
} finally {
  for (const child of running) {
    child.removeAllListeners("exit");
    child.kill("SIGKILL");
  }
}
