// Starts Debian's Chromium, and looks at pages: accessibility, screenshots, overflow.
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";

const executablePath = process.env.CHROMIUM_PATH ?? "/usr/bin/chromium";
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export const base = process.env.AOS_URL;
export const email = process.env.AOS_EMAIL;
export const password = process.env.AOS_PASSWORD;
export const WIDTHS = [360, 768, 1440];
export const THEMES = ["light", "dark"];

export async function launch() {
  if (!base) throw new Error("AOS_URL is not set: start a server and pass its address");
  if (!existsSync(executablePath))
    throw new Error(
      `no browser at ${executablePath}: install it (\`apt-get install chromium\`) or set CHROMIUM_PATH`,
    );
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
    ],
  });
}

/** A page that fails the test on a script error. */
export async function open(browser, { width = 1440, theme = "light", state } = {}) {
  const context = await browser.newContext({
    baseURL: base,
    viewport: { width, height: width < 700 ? 780 : 900 },
    colorScheme: theme,
    reducedMotion: "reduce",
    hasTouch: width < 700,
    isMobile: width < 700,
    acceptDownloads: true,
    storageState: state,
  });
  const page = await context.newPage();
  page.errors = [];
  page.on("pageerror", (error) => page.errors.push(String(error)));
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource/.test(message.text()))
      page.errors.push(message.text());
  });
  return page;
}

export async function signIn(page, as = { email, password }) {
  await page.goto("/sign-in");
  await page.getByLabel("E-mail").fill(as.email);
  await page.getByLabel("Password", { exact: true }).fill(as.password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("heading", { name: "Dashboard", level: 1 }).waitFor();
}

/** Waits until what is loading has loaded. */
export async function settled(page) {
  await page.waitForFunction(
    () => !document.querySelector(".skeleton") && document.querySelector("h1"),
  );
  await page.evaluate(() => document.fonts.ready.then(() => new Promise(requestAnimationFrame)));
}

export async function violations(page) {
  if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(axe);
  const found = await page.evaluate(() =>
    window.axe.run(document, { resultTypes: ["violations"] }),
  );
  return found.violations.map(
    (one) =>
      `${one.id}: ${one.help}\n    ${one.nodes.map((node) => `${node.target.join(" ")}\n      ${node.failureSummary}`).join("\n    ")}`,
  );
}

export const overflows = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);

export async function shoot(page, name) {
  const folder = process.env.AOS_SCREENSHOTS;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  // The window as tall as the page: what sticks to its edges then stands where it belongs.
  const window = page.viewportSize();
  const height = await page.evaluate(() => document.documentElement.scrollHeight);
  await page.setViewportSize({
    width: window.width,
    height: Math.min(Math.max(height, window.height), 4000),
  });
  await page.screenshot({ path: join(folder, `${name}.png`) });
  await page.setViewportSize(window);
}
