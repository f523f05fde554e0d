// Every page, in both themes, at three widths: nothing for axe to find, no sideways scrolling, no
// script error, and a picture to look at.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  launch,
  open,
  overflows,
  settled,
  shoot,
  signIn,
  THEMES,
  violations,
  WIDTHS,
  base,
} from "./support/browser.mjs";

let browser, state, ids;

before(async () => {
  browser = await launch();
  const page = await open(browser);
  await signIn(page);
  const token = await page.evaluate(
    () => JSON.parse(localStorage.getItem("aos.session")).accessToken,
  );
  const list = async (path) => {
    const answer = await fetch(`${base}/api/v1${path}`, {
      headers: { authorization: `Bearer ${token}` },
    });
    assert.equal(answer.status, 200, path);
    return (await answer.json()).data;
  };
  ids = {
    connection: (await list("/aam/connections"))[0].id,
    repair: (await list("/aam/repairs"))[0]?.id,
    row: (await list("/dcl/views/account?limit=1"))[0]?.id,
    task: (await list("/tasks"))[0]?.id,
  };
  state = await page.context().storageState();
  await page.context().close();
});
after(() => browser?.close());

const pages = () => ({
  dashboard: "/",
  connections: "/connections",
  "connection-new": "/connections/new?connector=file",
  connection: `/connections/${ids.connection}`,
  "connection-streams": `/connections/${ids.connection}?tab=streams`,
  "connection-schemas": `/connections/${ids.connection}?tab=schemas`,
  "connection-drift": `/connections/${ids.connection}?tab=drift`,
  "connection-syncs": `/connections/${ids.connection}?tab=syncs`,
  "connection-mappings": `/connections/${ids.connection}?tab=mappings`,
  "connection-quarantine": `/connections/${ids.connection}?tab=quarantine`,
  repairs: "/repairs?status=all",
  repair: `/repairs?status=all&id=${ids.repair}`,
  views: "/views/account",
  "view-row": `/views/account?row=${ids.row}`,
  "view-empty": "/views/account?q=no-such-thing-anywhere",
  flow: "/flow",
  tasks: "/tasks",
  task: `/tasks?id=${ids.task}`,
  history: "/history",
  settings: "/settings",
  "settings-keys": "/settings?tab=keys",
  "settings-autonomy": "/settings?tab=autonomy",
  "settings-models": "/settings?tab=models",
  "settings-appearance": "/settings?tab=appearance",
  operations: "/operations",
  "not-found": "/no-such-page",
});

for (const theme of THEMES) {
  for (const width of WIDTHS) {
    test(`${theme}, ${width} px: every page is clean`, async () => {
      const page = await open(browser, { width, theme, state });
      const problems = [];
      const look = async (name, path) => {
        await page.goto(path);
        await settled(page);
        for (const found of await violations(page)) problems.push(`${name}: ${found}`);
        if (await overflows(page)) problems.push(`${name}: scrolls sideways`);
        await shoot(page, `${name}-${theme}-${width}`);
      };
      for (const [name, path] of Object.entries(pages())) await look(name, path);
      await page.evaluate(() => localStorage.removeItem("aos.session"));
      await look("sign-in", "/sign-in");
      await look("sign-up", "/sign-up");
      problems.push(...page.errors.map((error) => `script: ${error}`));
      await page.context().close();
      assert.equal(problems.length, 0, `\n${[...new Set(problems)].join("\n")}`);
    });
  }
}
