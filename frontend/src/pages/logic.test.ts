// The rules of the pages, apart from their drawing.
import { expect, test } from "vitest";
import type { Graph, LogEvent, SchemaVersion, ViewRow } from "@/api/types";
import { cadence, outcomeText, PRESETS } from "./connection/cadence";
import { differenceOf } from "./connection/schema-difference";
import { edgesOfEvent, layoutOf, searchGraph } from "./flow/layout";
import { progressOf } from "./sync-progress";
import { columnsOf, readState, rowsQuery, rowTitle } from "./views/state";

const event = (change: Partial<LogEvent>): LogEvent => ({
  position: "p",
  type: "StreamSyncProgressed",
  aggregate_type: "sync",
  aggregate_id: "s1",
  version: 1,
  recorded_at: "2026-03-01T12:00:00Z",
  payload: {},
  ...change,
});

test("the state of a view is what its address says, and asks the server for just that", () => {
  const state = readState({
    q: "acme",
    sort: "-name",
    "filter[industry]": "Energy",
    "filter[amount][gte]": "5",
    "filter[amount][drop]": "5",
    size: "25",
    page: "2",
    cursor: "c",
  });
  expect(rowsQuery(state)).toEqual({
    limit: 25,
    cursor: "c",
    q: "acme",
    sort: "-name",
    as_of: null,
    count: true,
    "filter[industry]": "Energy",
    "filter[amount][gte]": "5",
  });
  expect(readState({ size: "7", page: "-1" })).toMatchObject({ size: 50, page: 1, sort: null });
});

test("without a choice, columns that hold nothing on the page are left out", () => {
  const rows = [{ id: "1", name: "A", fax: null, city: "B" }] as unknown as ViewRow[];
  expect(columnsOf(readState({}), ["name", "fax", "city"], rows)).toEqual(["name", "city"]);
  expect(columnsOf(readState({ columns: "fax,gone" }), ["name", "fax"], rows)).toEqual(["fax"]);
});

test("a row is called by its name; a person by both of theirs, not by their title", () => {
  expect(rowTitle({ id: "1", name: "Acme" } as ViewRow, [])).toBe("Acme");
  const person = {
    id: "1",
    first_name: "Ada",
    last_name: "Hill",
    title: "Buyer",
  } as unknown as ViewRow;
  expect(rowTitle(person, [])).toBe("Ada Hill");
});

test("progress comes from the events of that sync alone, with the rate between them", () => {
  const report = (rows: number, second: number, id = "s1") =>
    event({
      aggregate_id: id,
      recorded_at: `2026-03-01T12:00:0${second}Z`,
      payload: { stream: "a", progress: { rows_read: rows, bytes: rows * 10 }, total_rows: 900 },
    });
  const heard = progressOf([report(700, 3), report(9999, 3, "other"), report(100, 1)], "s1").get(
    "a",
  );
  expect(heard).toMatchObject({ rows: 700, bytes: 7000, total: 900, rate: 300, done: false });
});

const graph: Graph = {
  nodes: [
    { id: "source:c1", kind: "source", label: "CRM" },
    { id: "source:c2", kind: "source", label: "Billing" },
    { id: "stream:f1", kind: "stream", label: "accounts" },
    { id: "stream:f2", kind: "stream", label: "invoices" },
    { id: "entity:account", kind: "entity", label: "account" },
  ],
  edges: [
    { from: "source:c1", to: "stream:f1" },
    { from: "source:c2", to: "stream:f2" },
    { from: "stream:f1", to: "entity:account" },
    { from: "stream:f2", to: "gone" },
  ],
};

test("an event lights the lines of the stream it names, and no other", () => {
  const ingested = event({
    type: "RecordsIngested",
    aggregate_type: "feed",
    aggregate_id: "f1",
    payload: { state: { connection_id: "c1", stream: "accounts" } },
  });
  expect(edgesOfEvent(ingested, graph)).toEqual([
    "source:c1 stream:f1",
    "stream:f1 entity:account",
  ]);
  expect(edgesOfEvent(event({ aggregate_type: "task", aggregate_id: "t9" }), graph)).toEqual([]);
});

test("the graph is drawn in columns, without lines to what is not there", () => {
  const layout = layoutOf(graph);
  expect(layout.edges).toHaveLength(3);
  const x = (id: string) => layout.placed.get(id)?.x ?? NaN;
  expect(x("source:c1")).toBeLessThan(x("stream:f1"));
  expect(x("stream:f1")).toBeLessThan(x("entity:account"));
});

test("a search keeps what the match is tied to, up and down", () => {
  const ids = searchGraph(graph, "account").nodes.map((node) => node.id);
  expect(ids).toEqual(["source:c1", "stream:f1", "entity:account"]);
});

test("versions of a schema differ by what came, went and changed", () => {
  const version = (number: number, fields: [string, string][]): SchemaVersion => ({
    stream: "a",
    version: number,
    fingerprint: "",
    first_seen_at: "",
    fields: fields.map(([name, type]) => ({ name, type, nullable: true })),
  });
  const before = version(1, [
    ["a", "text"],
    ["b", "integer"],
  ]);
  expect(
    differenceOf(
      before,
      version(2, [
        ["b", "decimal"],
        ["c", "text"],
      ]),
    ),
  ).toEqual({
    added: ["c"],
    removed: ["a"],
    changed: ["b"],
  });
  expect(differenceOf(undefined, before)).toBeNull();
});

test("a schedule says how often it comes and what became of its last time", () => {
  expect(cadence({ cron: "0 * * * *" })).toBe("Every hour");
  expect(cadence({ cron: "7 3 1 * *" })).toBe("7 3 1 * *");
  expect(PRESETS.every((preset) => preset.cron.split(" ").length === 5)).toBe(true);
  expect(outcomeText(null)).toBe("not yet");
  expect(outcomeText({ result: "started", task_id: "t", sync_id: "s" })).toBe("began a sync");
  expect(outcomeText({ result: "skipped", reason: "busy" })).toBe("let pass: a sync was under way");
});
