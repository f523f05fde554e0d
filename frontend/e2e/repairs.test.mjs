// Repairs, from a policy that keeps them waiting to decisions about several and the way back.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { base, launch, open, settled, shoot, violations } from "./support/browser.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

/** Companies with a revenue of their own each, under whatever name. */
function companies(source, revenue, rows) {
  const lines = [`account_id,name,domain,${revenue},employee_count`];
  for (let n = 0; n < rows; n += 1) {
    const name = `${source} ${String(n).padStart(3, "0")}`;
    lines.push(
      `${source}${n},${name},${name.toLowerCase().replace(" ", "-")}.example.com,${10_000 + n * 7919},${((n * 13) % 977) + 1}`,
    );
  }
  return lines.join("\n");
}

describe("repairs that wait", () => {
  const member = {
    email: `repairs-${process.pid}-${Math.random().toString(36).slice(2, 8)}@example.com`,
    password: "a long enough sentence 4711",
  };
  let page, token;

  const call = async (method, path, body, status = 200) => {
    const raw = typeof body === "string";
    const answer = await fetch(`${base}/api/v1${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        ...(body === undefined || raw ? {} : { "content-type": "application/json" }),
      },
      body: raw || body === undefined ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    assert.equal(answer.status, status, `${method} ${path}: ${text}`);
    return text ? { ...JSON.parse(text), position: answer.headers.get("x-position") } : {};
  };
  const deliver = (source, revenue, rows) =>
    call("POST", `/uploads?filename=${source}.csv`, companies(source, revenue, rows), 201);
  const waiting = async () => (await call("GET", "/aam/repairs?status=pending_review")).data;
  /** Syncs, and waits until it has ended. */
  const sync = async (connection) => {
    const { sync_id, position } = await call(
      "POST",
      `/aam/connections/${connection}/syncs`,
      {},
      202,
    );
    let state = await call("GET", `/aam/syncs/${sync_id}?min_position=${position}`);
    while (["queued", "running"].includes(state.status)) {
      await page.waitForTimeout(100);
      state = await call("GET", `/aam/syncs/${sync_id}`);
    }
    assert.equal(state.status, "succeeded", JSON.stringify(state));
  };
  const clean = async (name) => {
    await settled(page);
    assert.deepEqual(await violations(page), [], name);
    await shoot(page, name);
  };

  before(async () => {
    page = await open(browser);
    await page.goto("/sign-up");
    await page.getByLabel("Organisation").fill("Repairs");
    await page.getByLabel("E-mail").fill(member.email);
    await page.getByLabel("Password", { exact: true }).fill(member.password);
    await page.getByRole("button", { name: "Create organisation" }).click();
    await page.getByText("Connect your first source").waitFor();
    token = await page.evaluate(() => JSON.parse(localStorage.getItem("aos.session")).accessToken);
  });
  after(async () => {
    assert.deepEqual(page.errors, []);
    await page.context().close();
  });

  test("a field is protected in the settings, and stays so over reload", async () => {
    await page.goto("/settings?tab=autonomy");
    await page.getByRole("button", { name: "Add a rule" }).click();
    const rule = page.getByRole("group", { name: "Rule 1" });
    await rule.getByLabel("Entity").selectOption("account");
    await rule.getByLabel("Field", { exact: true }).selectOption("annual_revenue");
    await rule.getByLabel("Never without a person").selectOption("true");
    await rule.getByLabel("Asked about from, in %").fill("40");
    await page.getByRole("button", { name: "Save policies" }).click();
    await page.getByText("Policies saved").waitFor();
    await page.reload();
    await rule.waitFor();
    await page.waitForFunction(
      () => document.querySelectorAll("fieldset select option[value=annual_revenue]").length > 0,
    );
    assert.equal(await rule.getByLabel("Field", { exact: true }).inputValue(), "annual_revenue");
    assert.equal(await rule.getByLabel("Asked about from, in %").inputValue(), "40");
    await clean("policies");
  });

  test("drift of the protected field waits, and a dry run says what deciding would change", async () => {
    for (const source of ["North", "South", "East"]) {
      const first = await deliver(source, "annual_revenue", 120);
      const { id } = await call(
        "POST",
        "/aam/connections",
        { name: source, connector: "file", config: { path: first.id } },
        201,
      );
      const found = await call("POST", `/aam/connections/${id}/discover`, {});
      await call("PUT", `/aam/connections/${id}/streams`, {
        streams: [{ name: found.streams[0].name, entity: "account" }],
      });
      await sync(id);
      const next = await deliver(source, "turnover", 124);
      await call("PATCH", `/aam/connections/${id}`, { config: { path: next.id } });
      await sync(id);
    }
    await page.goto("/repairs");
    await page
      .getByRole("heading", { name: /annual_revenue → turnover/ })
      .first()
      .waitFor({ timeout: 30_000 });
    const dry = page.getByRole("region", { name: "Dry run" }).first();
    await dry.getByRole("button", { name: "Run dry" }).click();
    await dry.getByText(/^4 rows would change/).waitFor({ timeout: 30_000 });
    const counts = dry.getByRole("region", { name: "Cells by field" });
    await counts.getByRole("rowheader", { name: "Annual revenue" }).waitFor();
    const cells = dry.getByRole("region", { name: "Cells before and after" });
    assert.equal(await cells.getByRole("row").count(), 5);
    await cells
      .getByText(/read from `turnover`/)
      .first()
      .waitFor();
    await cells.getByText("empty").first().waitFor();
    await clean("dry-run");
  });

  test("several are decided at once: each says what came of it, and approvals are taken back", async () => {
    const open = await waiting();
    assert.equal(open.length, 3);
    await page.goto("/repairs");
    await page.getByRole("button", { name: "Choose all" }).click();
    await page.getByText("3 of 3 chosen").waitFor();
    // One is decided elsewhere meanwhile.
    await call("POST", `/aam/repairs/${open[1].id}/reject`, {});
    await page.getByRole("button", { name: "Approve chosen" }).click();
    await page.getByRole("alertdialog").getByRole("button", { name: "Approve" }).click();
    const decided = page.getByRole("region", { name: "What was decided" });
    await decided.getByText("2 of 3 decisions taken, 1 failed").waitFor({ timeout: 30_000 });
    await decided.getByText(/not approved/).waitFor();
    await clean("bulk");
    // What was decided is still there after a reload, and so is the way back.
    await page.reload();
    await decided.getByRole("button", { name: "Undo 2 approvals" }).click();
    await decided.getByText("2 of 2 decisions taken", { exact: true }).waitFor({ timeout: 30_000 });
    const back = (await call("GET", "/aam/repairs?status=rolled_back")).data;
    assert.equal(back.length, 2);
    await decided.getByRole("button", { name: "Dismiss" }).click();
    await decided.waitFor({ state: "detached" });
    // Taken back, a repair says what was undone; the dry run of a rolled-back one is not offered.
    await page.goto("/repairs?status=rolled_back");
    await page.getByRole("article").getByText("Rolled back").waitFor({ timeout: 30_000 });
    assert.equal(await page.getByRole("region", { name: "Dry run" }).count(), 0);
  });

  test("a policy is tried on what was decided", async () => {
    await page.goto("/settings?tab=autonomy");
    await page.getByRole("button", { name: "Try on past decisions" }).click();
    await page
      .getByText(/^Of 3 changes in 3 decided repairs, 0 would have been applied alone/)
      .waitFor({ timeout: 30_000 });
    await page.getByRole("rowheader", { name: "Asked about" }).waitFor();
    await clean("backtest");
  });

  test("each change of a proposal is decided by itself, and the choice survives a reload", async () => {
    const { version, rules, expire_after_days } = await call("GET", "/aam/policies");
    const protect = { entity: "account", field: "employee_count", protected: true, ask_from: 0.4 };
    await call("PUT", "/aam/policies", { version, rules: [...rules, protect], expire_after_days });
    const first = await deliver("West", "annual_revenue", 120);
    const { id } = await call(
      "POST",
      "/aam/connections",
      { name: "West", connector: "file", config: { path: first.id } },
      201,
    );
    const found = await call("POST", `/aam/connections/${id}/discover`, {});
    await call("PUT", `/aam/connections/${id}/streams`, {
      streams: [{ name: found.streams[0].name, entity: "account" }],
    });
    await sync(id);
    const both = companies("West", "turnover", 124).replace("employee_count", "headcount");
    const next = await call("POST", "/uploads?filename=West.csv", both, 201);
    await call("PATCH", `/aam/connections/${id}`, { config: { path: next.id } });
    await sync(id);
    const [waits] = (await waiting()).filter((repair) => repair.connection_id === id);
    assert.equal(waits.proposal.together.length, 2);
    const chosen = page.getByLabel("Decide about employee_count");
    const detail = page.getByRole("article", { name: /annual_revenue|employee_count/ }).first();
    await page.goto(`/repairs?id=${waits.id}`);
    await detail.waitFor({ timeout: 30_000 });
    await chosen.first().uncheck();
    await detail.getByRole("button", { name: "Approve 1 of 2" }).waitFor();
    await page.reload();
    await detail.waitFor();
    assert.equal(await chosen.first().isChecked(), false);
    await clean("repair-in-part");
    await detail.getByRole("button", { name: "Approve 1 of 2" }).click();
    await page.getByText("The other changes wait as a repair of their own.").waitFor();
    const rest = (await waiting()).filter((repair) => repair.connection_id === id);
    assert.deepEqual(
      rest.map((repair) => repair.proposal.changes.map((change) => change.old_source)),
      [["employee_count"]],
    );
  });
});
