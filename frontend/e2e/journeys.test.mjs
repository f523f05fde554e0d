// What people do, from beginning to end, in a browser against a real server.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { base, launch, open, settled, shoot, signIn } from "./support/browser.mjs";

let browser;
before(async () => {
  browser = await launch();
});
after(() => browser?.close());

const folder = mkdtempSync(join(tmpdir(), "aos-e2e-"));
const names = [
  "Aster Energy",
  "Birch Foods",
  "Cedar Labs",
  "Dune Logistics",
  "Elm Motors",
  "Fjord Textiles",
];

/** A table of companies whose values are all different, so that a renamed column can be proved. */
function companies(revenueColumn, rows = 240) {
  const lines = [`Id,Name,Website,${revenueColumn},NumberOfEmployees,Industry`];
  for (let n = 0; n < rows; n += 1) {
    const name = `${names[n % names.length]} ${n}`;
    lines.push(
      [
        `001${String(n).padStart(9, "0")}`,
        name,
        `https://www.${name.toLowerCase().replaceAll(" ", "-")}.example`,
        100000 + n * 1713,
        10 + n * 3,
        ["Energy", "Food", "Software"][n % 3],
      ].join(","),
    );
  }
  return lines.join("\n");
}

describe("a new organisation", () => {
  const member = {
    email: `e2e-${process.pid}-${Math.random().toString(36).slice(2, 8)}@example.com`,
    password: "a long enough sentence 4711",
  };
  let page;
  before(async () => {
    page = await open(browser);
  });
  after(async () => {
    assert.deepEqual(page.errors, []);
    await page.context().close();
  });

  test("signs up, and a deep link without a session leads back after signing in", async () => {
    await page.goto("/sign-up");
    await page.getByLabel("Organisation").fill("Journeys");
    await page.getByLabel("E-mail").fill(member.email);
    await page.getByLabel("Password", { exact: true }).fill(member.password);
    await page.getByRole("button", { name: "Create organisation" }).click();
    await page.getByText("Connect your first source").waitFor();

    const stranger = await open(browser);
    await stranger.goto("/history?aggregate_type=user");
    await stranger.getByRole("heading", { name: "Welcome back" }).waitFor();
    await stranger.getByLabel("E-mail").fill(member.email);
    await stranger.getByLabel("Password", { exact: true }).fill("not the password");
    await stranger.getByRole("button", { name: "Sign in" }).click();
    await stranger.locator("form [aria-live] p").waitFor();
    await stranger.getByLabel("Password", { exact: true }).fill(member.password);
    await stranger.getByRole("button", { name: "Sign in" }).click();
    await stranger.getByRole("heading", { name: "History", level: 1 }).waitFor();
    assert.match(stranger.url(), /aggregate_type=user/);
    await stranger.context().close();
  });

  test("uploads a file, connects it, chooses streams that survive search and reload, syncs, and sees rows", async () => {
    const file = join(folder, "accounts.csv");
    writeFileSync(file, companies("AnnualRevenue"));
    await page.goto("/connections/new?connector=file");
    await page.setInputFiles("input[type=file]", file);
    await page.getByText("accounts.csv").first().waitFor();
    await page.getByLabel("Name of the connection").fill("Journey accounts");
    await page.reload();
    assert.equal(await page.getByLabel("Name of the connection").inputValue(), "Journey accounts");
    await page.getByRole("button", { name: "Create and test" }).click();

    await page.getByRole("heading", { name: "Journey accounts" }).waitFor();
    const chosen = page.getByRole("checkbox", { name: /accounts/ });
    await chosen.waitFor();
    await page.getByLabel("Entity of accounts").selectOption("account");
    await page.getByRole("searchbox", { name: "Search streams" }).fill("nothing like it");
    await page.getByText(/hidden by the search/).waitFor();
    await page.getByRole("searchbox", { name: "Search streams" }).fill("");
    await page.reload();
    await chosen.waitFor();
    assert.equal(await page.getByLabel("Entity of accounts").inputValue(), "account");
    await page.getByRole("button", { name: "Save and sync" }).click();
    await page.getByText("Succeeded").first().waitFor({ timeout: 60_000 });
    await shoot(page, "journey-synced");

    await page.goto("/views/account?q=Aster+Energy+0");
    await page
      .getByRole("link", { name: "Open Aster Energy 0", exact: true })
      .waitFor({ timeout: 30_000 });
  });

  test("is synced by a schedule, paused and resumed, and one stream is read again", async () => {
    await page.goto("/connections");
    await page
      .getByRole("link", { name: /Journey accounts/ })
      .first()
      .click();
    await page.getByRole("heading", { name: "Journey accounts" }).waitFor();
    await page.getByText("It is synced by hand alone.").waitFor();
    await page.getByRole("button", { name: "Add", exact: true }).click();
    const dialog = page.getByRole("dialog", { name: "Sync it by itself" });
    await dialog.getByLabel("How often").selectOption("own");
    await dialog.getByLabel("Cron expression").fill("* * * * *");
    await dialog.getByLabel("Time zone").fill("Europe/Berlin");
    await dialog.getByRole("button", { name: "Add schedule" }).click();
    await dialog.getByText(/runs twice within/).waitFor();
    await dialog.getByLabel("Cron expression").fill("0 6 * * *");
    await dialog.getByRole("button", { name: "Add schedule" }).click();
    await page.getByText("Every day at 6:00").first().waitFor();
    await page.getByText(/Europe\/Berlin · next/).waitFor();
    await page.getByRole("button", { name: "Pause all" }).click();
    await page.getByText("Paused: its schedules wait").waitFor();
    await page.getByRole("button", { name: "Resume" }).click();
    await page.getByText("Paused: its schedules wait").waitFor({ state: "detached" });

    await page.getByRole("link", { name: "Streams", exact: true }).click();
    await page.getByRole("button", { name: "Fields of accounts" }).click();
    await page.getByRole("button", { name: "Read accounts again from its beginning" }).click();
    await page.getByRole("button", { name: "Read it again", exact: true }).click();
    await page.waitForURL(/tab=syncs/);
    await page.getByText("Succeeded").first().waitFor({ timeout: 60_000 });
  });

  test("searches, sorts, pages and opens a row; back, forward and reload keep the place", async () => {
    await page.goto("/views/account");
    await page.getByRole("button", { name: "Name", exact: true }).click();
    await page.waitForURL(/sort=name/);
    await page.getByRole("button", { name: "Next" }).click();
    await page.waitForURL(/page=2/);
    await page.getByText(/^51 – 100/).waitFor();
    await page.goBack();
    await page.getByText(/^1 – 50/).waitFor();
    await page.goForward();
    await page.getByText(/^51 – 100/).waitFor();
    await page.getByRole("searchbox").fill("Birch Foods 7");
    await page.waitForURL(/q=Birch/);
    await page.getByRole("link", { name: "Open Birch Foods 7", exact: true }).click();
    await page.getByRole("dialog", { name: "Birch Foods 7" }).waitFor();
    await page.reload();
    const drawer = page.getByRole("dialog", { name: "Birch Foods 7" });
    await drawer.waitFor();
    await drawer.getByRole("button", { name: /^Annual revenue/ }).click();
    await drawer.getByText("AnnualRevenue", { exact: true }).waitFor();
    await shoot(page, "journey-row");
    await page.keyboard.press("Escape");
    await drawer.waitFor({ state: "detached" });
    assert.match(page.url(), /q=Birch/);
    assert.doesNotMatch(page.url(), /row=/);
  });

  test("exports what it sees", async () => {
    await page.goto("/views/account?q=Birch");
    await settled(page);
    await page.getByRole("button", { name: "Export" }).click();
    const [download] = await Promise.all([
      page.waitForEvent("download"),
      page.getByRole("menuitem", { name: "CSV", exact: true }).click(),
    ]);
    assert.equal(download.suggestedFilename(), "accounts.csv");
    assert.match(readFileSync(await download.path(), "utf8"), /Birch Foods/);
  });

  test("delivers a drifted edition: the repair is shown with its evidence, decided, and taken back", async () => {
    const file = join(folder, "accounts.csv");
    writeFileSync(file, companies("Yearly_Turnover_EUR"));
    await page.goto("/connections");
    await page.getByRole("link", { name: /Journey accounts/ }).click();
    await page.getByRole("button", { name: "Edit" }).click();
    const dialog = page.getByRole("dialog");
    await dialog.locator("input[type=file]").setInputFiles(file);
    await dialog.getByRole("progressbar").waitFor({ state: "detached" });
    await dialog.getByRole("button", { name: "Save" }).click();
    await dialog.waitFor({ state: "detached" });
    await page.getByRole("button", { name: "Sync now" }).click();
    await page.waitForURL(/sync=/);
    await page.getByText("Succeeded").first().waitFor({ timeout: 60_000 });

    await page.getByRole("link", { name: /^Drift/ }).click();
    await page
      .getByText(/AnnualRevenue/)
      .first()
      .waitFor({ timeout: 30_000 });
    await shoot(page, "journey-drift");
    await page.goto("/repairs?status=all");
    await page
      .getByRole("heading", { name: /AnnualRevenue → Yearly_Turnover_EUR/ })
      .first()
      .waitFor({ timeout: 30_000 });
    await page.getByText("Before", { exact: true }).waitFor();
    await shoot(page, "journey-repair");
    const approve = page.getByRole("button", { name: "Approve" });
    if (await approve.isVisible()) {
      await approve.click();
      await page.getByText("Repair approved").waitFor();
      await page.getByRole("button", { name: "Undo" }).click();
    } else {
      await page.getByRole("button", { name: "Roll back" }).click();
    }
    await page.getByText("Repair rolled back").waitFor();
    await page.locator("article").getByText("Rolled back").waitFor({ timeout: 30_000 });
  });

  test("edits a mapping by hand", async () => {
    await page.goto("/connections");
    await page.getByRole("link", { name: /Journey accounts/ }).click();
    await page.getByRole("link", { name: "Mappings" }).click();
    await page.getByRole("button", { name: "Edit" }).click();
    // The column that went away is replaced by the one that came.
    const targets = page.getByLabel(/^Field of line/);
    await targets.first().waitFor();
    const values = await targets.evaluateAll((all) => all.map((one) => one.value));
    const line = values.indexOf("annual_revenue");
    assert.notEqual(line, -1, `no line feeds annual_revenue: ${values}`);
    await page
      .getByLabel(`Column of line ${line + 1}`, { exact: true })
      .fill("Yearly_Turnover_EUR");
    await page.getByRole("button", { name: "Save mapping" }).click();
    await page.getByText(/Mapping of accounts saved/).waitFor();
    await page.getByText("by a person").first().waitFor();
  });

  test("deletes the connection after being asked", async () => {
    await page.goto("/connections");
    await page.getByRole("link", { name: /Journey accounts/ }).click();
    await page.getByRole("button", { name: "More actions" }).click();
    await page.getByRole("menuitem", { name: "Delete connection" }).click();
    await page.getByRole("alertdialog").getByRole("button", { name: "Delete connection" }).click();
    await page.getByRole("heading", { name: "Connections", level: 1 }).waitFor();
    await page.getByText("No source is connected yet").waitFor({ timeout: 30_000 });
  });

  test("signs out, and what was open is closed", async () => {
    await page.getByRole("button", { name: /Account/ }).click();
    await page.getByRole("button", { name: "Sign out" }).click();
    await page.getByRole("heading", { name: "Welcome back" }).waitFor();
    await page.goto("/connections");
    await page.getByRole("heading", { name: "Welcome back" }).waitFor();
  });
});

describe("the demo", () => {
  let page;
  before(async () => {
    page = await open(browser);
    await signIn(page);
  });
  after(async () => {
    assert.deepEqual(page.errors, []);
    await page.context().close();
  });

  test("every number leads to what it counts", async () => {
    await page.goto("/");
    await settled(page);
    for (const [name, path] of [
      [/^Unified rows/, /\/views/],
      [/^Repairs to review/, /\/repairs\?status=pending_review/],
      [/^Open drift/, /\/repairs/],
    ]) {
      await page.getByRole("link", { name }).click();
      await page.waitForURL(path);
      await page.goBack();
      await page.getByRole("heading", { name: "Dashboard", level: 1 }).waitFor();
    }
  });

  test("the theme is chosen, kept over reload, and follows the system when told to", async () => {
    const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
    await page.goto("/settings?tab=appearance");
    await page.getByRole("radio", { name: "Dark" }).click();
    assert.equal(await theme(), "dark");
    await page.reload();
    await page.getByRole("radio", { name: "Dark" }).waitFor();
    assert.equal(await theme(), "dark");
    await page.getByRole("radio", { name: "As the system" }).click();
    assert.equal(await theme(), "light");
    await page.emulateMedia({ colorScheme: "dark" });
    await page.waitForFunction(() => document.documentElement.dataset.theme === "dark");
    await page.emulateMedia({ colorScheme: "light" });
  });

  test("the keyboard alone leads through: palette, search, list, keys", async () => {
    await page.goto("/");
    await settled(page);
    await page.keyboard.press("Control+k");
    await page.getByPlaceholder(/Jump to/).fill("repairs");
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Repairs", level: 1 }).waitFor();
    await page.goto("/repairs?status=all");
    await settled(page);
    await page.keyboard.press("j");
    await page.waitForURL(/id=/);
    await page.goto("/views/account");
    await settled(page);
    await page.keyboard.press("/");
    assert.equal(
      await page.evaluate(() => document.activeElement.getAttribute("role")),
      "searchbox",
    );
    await page.keyboard.press("Escape");
    await page.keyboard.press("?");
    await page.getByRole("dialog", { name: "Keyboard shortcuts" }).waitFor();
    await page.keyboard.press("Escape");
  });

  test("a committed event shows in the live flow, and gathers while the list is held", async () => {
    await page.goto("/flow");
    await settled(page);
    await page.getByRole("button", { name: "Pause" }).click();
    const token = await page.evaluate(
      () => JSON.parse(localStorage.getItem("aos.session")).accessToken,
    );
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const connections = (await (await fetch(`${base}/api/v1/aam/connections`, { headers })).json())
      .data;
    const test = await fetch(`${base}/api/v1/aam/connections/${connections[0].id}/syncs`, {
      method: "POST",
      headers,
      body: "{}",
    });
    assert.equal(test.status, 202);
    await page.getByRole("button", { name: /\d+ new/ }).click();
    await page.getByRole("button", { name: "Go on" }).click();
    await page
      .getByRole("region", { name: "Latest events" })
      .getByText(/Sync started|Sync requested/)
      .first()
      .waitFor();
  });

  test("an error says its cause, what was tried, what to do, and its trace id", async () => {
    await page.goto("/connections/00000000-0000-4000-8000-000000000000");
    const alert = page.getByRole("alert");
    await alert.waitFor();
    for (const part of ["Cause", "Tried", "Next", "Trace id"])
      await alert.getByText(part, { exact: true }).waitFor();
    await alert.getByRole("button", { name: "Copy report" }).waitFor();
  });
});
