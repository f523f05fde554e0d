import { expect, test } from "vitest";
import { ago, bytes, cell, duration, humanize, percent } from "./format";
import { insidePath } from "./inside-path";
import { transformText } from "./transform";

test("a doubt is never rounded away", () => {
  expect(percent(0.9999)).toBe("99.9\u00a0%");
  expect(percent(1)).toBe("100\u00a0%");
  expect(percent(0.6)).toBe("60\u00a0%");
  expect(percent(null)).toBe("–");
});

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1500, "1.5 kB"],
  [999_600, "1.0 MB"],
  [2_000_000_000, "2.0 GB"],
])("%i bytes read %s", (value, text) => expect(bytes(value)).toBe(text));

test.each([
  [20, "20 ms"],
  [1000, "1 s"],
  [61_000, "1 min 1 s"],
  [3_600_000, "1 h 0 min"],
])("%i ms read %s", (value, text) => expect(duration(value)).toBe(text));

test("times near now are relative, old ones are dates", () => {
  const now = Date.parse("2026-03-01T12:00:00Z");
  expect(ago(new Date(now - 2000), now)).toBe("just now");
  expect(ago(new Date(now - 90_000), now)).toBe("1 min ago");
  expect(ago(new Date(now - 40 * 86_400_000), now)).toMatch(/2026/);
});

test("values read as people write them", () => {
  expect(cell(null)).toBe("");
  expect(cell(1234567.5)).toBe("1,234,567.5");
  expect(cell("2026-03-01T00:00:00Z")).toBe("2026-03-01");
  expect(cell("2026-03-01T09:30:00.123Z")).toBe("2026-03-01 09:30:00");
  expect(cell("007")).toBe("007");
  expect(cell({ a: 1 })).toBe('{"a":1}');
});

test("names become words", () => {
  expect(humanize("annual_revenue")).toBe("Annual revenue");
  expect(humanize("SnapshotCompleted")).toBe("Snapshot completed");
});

test("transforms read as one line", () => {
  expect(transformText({ op: "scale", factor: "0.01" })).toBe("× 0.01");
  expect(
    transformText({
      op: "chain",
      steps: [{ op: "parse_decimal_comma" }, { op: "scale", factor: "0.01" }],
    }),
  ).toBe("decimal comma, then × 0.01");
  expect(transformText({ op: "map_values", values: { a: "b" }, keep_others: true })).toBe("a → b");
});

test.each([
  "//evil.example",
  "/\\evil.example",
  "https://evil.example",
  "evil",
  undefined,
  "/sign-in",
])("after sign-in, %s leads to the dashboard", (path) => expect(insidePath(path)).toBe("/"));
test("after sign-in, a page of ours is gone back to", () =>
  expect(insidePath("/views/account?q=a")).toBe("/views/account?q=a"));
