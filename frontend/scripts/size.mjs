// Fails when the built screen is larger than its budgets. Bytes as sent: gzip for text, fonts as they are.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { gzipSync } from "node:zlib";

const KB = 1000;
const BUDGET = { first: 130 * KB, route: 120 * KB, css: 15 * KB, fonts: 60 * KB };
const dist = new URL("../dist/", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL(".vite/manifest.json", dist), "utf8"));
const zipped = (file) => gzipSync(readFileSync(new URL(file, dist)), { level: 9 }).length;

/** A chunk and everything it imports statically. */
function closure(key, seen = new Set()) {
  if (seen.has(key)) return seen;
  seen.add(key);
  for (const next of manifest[key].imports ?? []) closure(next, seen);
  return seen;
}
const bytesOf = (keys) =>
  [...new Set([...keys].map((key) => manifest[key].file))].reduce(
    (sum, file) => sum + zipped(file),
    0,
  );

const entry = Object.keys(manifest).find((key) => manifest[key].isEntry);
const first = closure(entry);
const lines = [["first load", bytesOf(first), BUDGET.first]];
for (const key of Object.keys(manifest)) {
  if (!manifest[key].isDynamicEntry) continue;
  const own = [...closure(key)].filter((part) => !first.has(part));
  lines.push([`on demand: ${key}`, bytesOf(own), BUDGET.route]);
}
const assets = readdirSync(new URL("assets/", dist));
const sum = (ending, size) =>
  assets
    .filter((name) => name.endsWith(ending))
    .reduce((total, name) => total + size(`assets/${name}`), 0);
lines.push(["css", sum(".css", zipped), BUDGET.css]);
lines.push(["fonts", sum(".woff2", (file) => statSync(new URL(file, dist)).size), BUDGET.fonts]);

let failed = false;
for (const [name, bytes, budget] of lines) {
  const over = bytes > budget;
  failed ||= over;
  console.log(
    `${over ? "OVER" : "ok  "} ${(bytes / KB).toFixed(1).padStart(7)} of ${(budget / KB).toFixed(0)} kB  ${name}`,
  );
}
process.exit(failed ? 1 : 0);
