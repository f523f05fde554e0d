import { expect, test } from "vitest";
import { SseParser } from "./events";

function parse(...chunks: string[]) {
  const events: unknown[] = [];
  const parser = new SseParser((event) => events.push(event));
  for (const chunk of chunks) parser.push(chunk);
  return events;
}

test("an event is complete at its empty line, wherever the chunks are cut", () => {
  const text = 'id: p1\nevent: SyncStarted\ndata: {"a":1}\n\n';
  const whole = [{ type: "SyncStarted", id: "p1", data: '{"a":1}' }];
  for (let cut = 0; cut <= text.length; cut += 1)
    expect(parse(text.slice(0, cut), text.slice(cut))).toEqual(whole);
});

test("heartbeats are no events, and data of many lines is joined", () => {
  expect(parse(": heartbeat\n\n", "data: a\ndata: b\n\n")).toEqual([
    { type: "message", id: "", data: "a\nb" },
  ]);
});

test("the id stays until another one comes; carriage returns end lines too", () => {
  expect(parse("id: p1\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n")).toEqual([
    { type: "message", id: "p1", data: "1" },
    { type: "message", id: "p1", data: "2" },
  ]);
});
