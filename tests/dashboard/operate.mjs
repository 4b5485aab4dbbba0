// What operators do on the dashboard beyond single masters: who serves is seen and changed, each change after what the server says of it.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { addressOf, baton, browse, busy, directory, fits, master, PHONE, see, start, view as go } from "./kit.mjs";

const HOOK_SECRET = "not a secret of hooks either";
// Records of a page of the audit trail.
const PAGE = 50;
// From a fault to another master's being read, milliseconds.
const TAKEN_OVER_MAX = 2000;

export async function operate(say) {
  const hooked = (name, address) => master(name, address, "--hook-secret", HOOK_SECRET);
  const [first, second] = [await hooked("dubai-1"), await hooked("dubai-2")];
  const [berlin, oslo, spare] = [await master("berlin"), await master("oslo"), await master("spare")];
  // Who is told of alerts.
  let told = [];
  const hall = createServer((request, answer) => {
    told.push(request.headers["baton-notification"]);
    answer.writeHead(204).end();
  });
  await new Promise((done) => hall.listen(0, "127.0.0.1", done));
  const configuration = `${directory}/operated.yaml`;
  writeFileSync(configuration, `
listeners: [{ name: gateway, address: "127.0.0.1:0" }]
routes:
  - { name: webhooks, match: { path_prefix: /webhook }, upstream: bots }
  - { name: shared, match: { path_prefix: /shared }, upstream: shared }
  - name: numbers
    match: { path_prefix: /numbers }
    upstream: numbers
    whatsapp: { provider: cloud-api, app_secret: "not a secret", verify_token: "of no use here" }
upstreams:
  - name: bots
    masters:
      - { name: dubai-1, address: "${first.address}", priority: 0 }
      - { name: dubai-2, address: "${second.address}", priority: 1 }
    health_check: { interval: 500ms, timeout: 400ms, unhealthy_threshold: 2, healthy_threshold: 1, http: { path: /health } }
    failover:
      deadline: 2s
      recovery: { timeout: 30s, max_attempts: 5 }
      hooks: { export: /state, import: /state, activate: /activate, deactivate: /deactivate, interval: 1s, secret: "${HOOK_SECRET}" }
  - name: numbers
    masters:
      - { name: berlin, address: "${berlin.address}", accounts: ["111"] }
      - { name: oslo, address: "${oslo.address}", accounts: ["222"] }
      - { name: spare, address: "${spare.address}", priority: 1, accounts: ["111", "222"] }
    health_check: { interval: 500ms, timeout: 400ms, http: { path: /health } }
    failover: {}
  - name: shared
    strategy: weighted-round-robin
    masters: [{ name: berlin, address: "${berlin.address}", weight: 2 }, { name: oslo, address: "${oslo.address}" }]
    health_check: { interval: 500ms, timeout: 400ms, http: { path: /health } }
alerts:
  receivers:
    - { name: ops, webhook: { url: "http://127.0.0.1:${hall.address().port}/told" }, severity: warning }
    - { name: nobody, webhook: { url: "http://127.0.0.1:9/" }, severity: critical, attempts: 1 }
state: { path: "${directory}/operated" }
admin: { address: "127.0.0.1:0" }
logging: { level: warn, access_log: "off" }
`);
  const { said } = await start("baton", ["run", "--config", configuration], /^ready$/m);
  const admin = addressOf(said, /admin on (\S+)/);
  const tokenOf = (name) => execFileSync(baton, ["token", "--role", "operator", "--name", name, "--config", configuration], { encoding: "utf8" }).trim();
  const token = tokenOf("ann");
  const { browser, complaints, forgive, open } = await browse();
  try {
    const page = await open({ viewport: { width: 1280, height: 900 } });
    const dialog = page.getByRole("dialog");
    const button = (name) => page.locator("#view").getByRole("button", { name, exact: true });
    const previewed = (words) => see(page.locator("#preview", { hasText: words }));
    const confirm = async (word, reason) => {
      if (reason) await page.getByLabel("Why").fill(reason);
      await dialog.getByRole("button", { name: word, exact: true }).click();
      await dialog.waitFor({ state: "hidden" });
    };
    await page.goto(admin);
    await see(page.getByText("All is well"));
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByLabel("Token").fill(token);
    await dialog.getByRole("button", { name: "Sign in" }).click();
    await see(page.getByText("ann, operator"));

    say("who serves is on the page, with what is kept of its state");
    await go(page, "Failovers");
    const serving = page.locator("#serving-bots");
    const serves = (name) => see(serving.locator("tbody th", { hasText: name }));
    await serves("dubai-1");
    await see(serving.locator("tbody tr", { hasText: "of dubai-1" }).getByText("1 master"));
    await see(page.locator("#failovers").getByText("None yet."));

    say("a failover is watched as it happens, and is in the history with its cause");
    first.child.removeAllListeners("exit");
    first.child.kill("SIGKILL");
    const killed = Date.now();
    await serves("dubai-2");
    const noticed = Date.now() - killed;
    const row = (epoch) => page.locator(`#failover-bots-${epoch}`);
    await see(row(1).getByText("completed"));
    await see(row(1).getByText("dubai-1 → dubai-2"));
    await see(row(1).getByText("by baton"));
    await see(row(1).getByText("SHA-256"));
    await see(serving.getByText("nobody", { exact: true }));
    await see(serving.locator("li", { hasText: "dubai-1" }).getByText("failed"));
    await page.screenshot({ path: `${directory}/failovers.png`, fullPage: true });

    say("what cannot be done is said before it is tried");
    await button("fail back bots").click();
    await see(dialog.getByRole("alert"));
    await previewed("Nothing is done.");
    assert.ok(await dialog.getByRole("button", { name: "Fail back" }).isDisabled());
    await page.keyboard.press("Escape");

    say("failures are forgotten, and the preferred master takes over again, both with a reason");
    await hooked("dubai-1", first.address);
    await see(serving.getByText("1 master"));
    await see(serving.locator("li", { hasText: "dubai-1" }).getByText("not stable yet"));
    await button("reset bots").click();
    await previewed("The failures of dubai-1 are forgotten");
    await confirm("Reset", "its disk was full");
    await serving.getByText("not stable yet").waitFor({ state: "detached" });
    await button("fail back bots").click();
    await previewed("dubai-1 takes over everything from dubai-2. 0 conversations");
    assert.equal(await page.getByLabel("Why").inputValue(), "");
    await confirm("Fail back", "it is well again");
    await serves("dubai-1");
    await see(row(2).getByText("it is well again"));
    await see(row(2).getByText("by ann"));

    say("another master is chosen, and what is previewed is what is done");
    await button("fail over bots").click();
    await previewed("dubai-2 takes over everything from dubai-1");
    await page.getByLabel("To", { exact: true }).selectOption("dubai-1");
    await see(dialog.getByRole("alert").filter({ hasText: "dubai-1" }));
    await page.getByLabel("To", { exact: true }).selectOption("dubai-2");
    await previewed("dubai-2 takes over everything from dubai-1");
    await page.screenshot({ path: `${directory}/failover-preview.png` });
    await page.getByLabel("Why").focus();
    await page.keyboard.type("a <b>new</b> version");
    await page.keyboard.press("Enter");
    await serves("dubai-2");
    await see(row(3).getByText("a <b>new</b> version"));
    assert.equal(await page.locator("#view b").count(), 0);
    forgive("409");

    say("one account changes hands without the others");
    const numbers = page.locator("#serving-numbers tbody tr");
    await button("fail over numbers").click();
    await previewed("spare takes over 111 from berlin");
    await page.getByLabel("Of", { exact: true }).selectOption("222");
    await previewed(/^spare takes over 222 from oslo[^,]*$/);
    await confirm("Fail over");
    await see(numbers.filter({ hasText: "222" }).locator("th", { hasText: "spare" }));
    await see(numbers.filter({ hasText: "111" }).locator("th", { hasText: "berlin" }));

    say("settings change at run time after the server has said what differs, and the page says so until the file is gone by");
    await go(page, "Masters");
    const shared = page.locator("#masters-shared");
    const held = page.locator("#not-the-file");
    await see(shared.getByText("shared, weighted-round-robin"));
    assert.equal(await held.count(), 0);
    await button("strategy of shared").click();
    await previewed("Nothing changes.");
    await page.getByLabel("Strategy", { exact: true }).selectOption("geo");
    await see(dialog.getByRole("alert").filter({ hasText: "geo" }));
    await page.getByLabel("Strategy", { exact: true }).selectOption("peak-ewma");
    await previewed("strategy weighted-round-robin -> peak-ewma");
    await previewed("Warning: `strategy: peak-ewma` does not read this");
    await confirm("Set", "the quickest first");
    await see(shared.getByText("shared, peak-ewma"));
    await see(held.getByText("set at run time"));
    await shared.getByRole("button", { name: "weight of oslo" }).click();
    await page.getByLabel("Weight:").fill("0");
    await see(dialog.getByRole("alert"));
    await page.getByLabel("Weight:").fill("7");
    await previewed("weight 1 -> 7");
    await page.screenshot({ path: `${directory}/weight.png` });
    await page.getByLabel("Why").fill("a larger machine");
    assert.equal(await page.getByLabel("Weight:").inputValue(), "7");
    await confirm("Set");
    await see(page.locator("#master-shared-oslo td.number", { hasText: /^7$/ }));
    await shared.getByRole("button", { name: "priority of oslo" }).click();
    await page.getByLabel("Priority:").fill("3");
    await previewed("priority 0 -> 3");
    await page.keyboard.press("Escape");
    await page.screenshot({ path: `${directory}/settings.png`, fullPage: true });
    await go(page, "Overview");
    await button("Go by the file").click();
    await previewed("strategy peak-ewma -> weighted-round-robin");
    await previewed("weight 7 -> 1");
    await confirm("Go by the file", "it was a trial");
    await held.waitFor({ state: "detached" });
    const rollback = { method: "POST", headers: { authorization: `Bearer ${tokenOf("bob")}`, "content-type": "application/json" }, body: "{}" };
    assert.equal((await fetch(`${admin}/api/v1/generations/2/rollback`, rollback)).status, 200);
    await see(held.getByText("rolled back"));
    await button("Go by the file").click();
    await confirm("Go by the file");
    await held.waitFor({ state: "detached" });
    forgive("422");

    say("who is told of alerts is there with how it went, and can be tried");
    await go(page, "Alerts");
    const receiver = (name) => page.locator(`#receiver-${name}`);
    // Of the master that was killed.
    await see(receiver("ops").getByText("taken", { exact: true }));
    await see(receiver("nobody").getByText("not told yet"));
    told = [];
    await button("test ops").click();
    await previewed("says that it is a test");
    await dialog.getByRole("button", { name: "Send a test" }).click();
    await see(dialog.getByText("ops took it within"));
    assert.ok(told.includes("test"), String(told));
    await confirm("Close");
    await button("test nobody").click();
    await dialog.getByRole("button", { name: "Send a test" }).click();
    await see(dialog.getByRole("alert").filter({ hasText: "nobody did not take it" }));
    await page.keyboard.press("Escape");
    await see(receiver("nobody").getByText("not taken"));
    await page.screenshot({ path: `${directory}/receivers.png`, fullPage: true });

    say("who changed what is there, the newest first, and can be searched page by page");
    await go(page, "Audit");
    const records = page.locator("#audit tbody tr");
    await see(records.first().getByText("bob").or(records.first().getByText("ann")));
    await see(records.filter({ hasText: "a <b>new</b> version" }).getByText("ann"));
    assert.equal(await page.locator("#view b").count(), 0);
    const headers = { authorization: `Bearer ${tokenOf("bob")}`, "content-type": "application/json" };
    for (let turn = 0; turn < PAGE + 5; turn += 1) {
      const answer = await fetch(`${admin}/api/v1/upstreams/numbers/masters/spare/operator-state`, { method: "POST", headers, body: `{ "state": "ready", "reason": "turn ${turn}" }` });
      assert.equal(answer.status, 200);
    }
    // What is new comes by itself.
    await see(records.first().getByText(`turn ${PAGE + 4}`));
    await button("Older").click();
    await see(page.getByText("page 2"));
    await see(records.first().getByText("turn 4", { exact: true }));
    await button("Newest").click();
    await page.getByLabel("By", { exact: true }).fill("ann");
    await page.keyboard.press("Enter");
    await see(records.first().getByText("alert.test", { exact: true }));
    await page.getByLabel("did", { exact: true }).fill("reset");
    await page.keyboard.press("Enter");
    await see(records.first().getByText("its disk was full"));
    assert.equal(await records.count(), 1);

    say("the trail is verified in words, exported, and what somebody changed in it is told");
    const verdict = page.locator("#audit-verdict");
    await see(verdict.getByText("Nothing was changed, removed or added."));
    const [exported] = await Promise.all([page.waitForEvent("download"), button("Export").click()]);
    const lines = readFileSync(await exported.path(), "utf8").trim().split("\n");
    assert.ok(lines.length > PAGE && JSON.parse(lines[0]).seq === 1, lines[0]);
    await page.screenshot({ path: `${directory}/audit.png`, fullPage: true });
    const trail = `${directory}/operated/audit`;
    const file = `${trail}/${readdirSync(trail).find((name) => name.startsWith("audit-"))}`;
    writeFileSync(file, readFileSync(file, "utf8").replace("its disk was full", "its disk was fine"));
    await button("Verify again").click();
    await see(verdict.getByText("damaged"));
    await see(verdict.locator("li", { hasText: "the record was changed" }));

    say("it fits a phone, in the dark too");
    await fits(await open(PHONE), admin, ["failovers", "masters", "alerts", "audit"], directory);

    assert.deepEqual(complaints, []);
    say(`another master was shown to serve ${noticed} ms after one was killed`);
    assert.ok(noticed < TAKEN_OVER_MAX || busy(), `it took ${noticed} ms to show who took over`);
  } finally {
    hall.closeAllConnections();
    hall.close();
    await browser.close();
  }
}
