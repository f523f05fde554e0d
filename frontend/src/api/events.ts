// The live stream of committed events: one connection per tab, resumed without a gap or a repeat.
// Read with `fetch`, because `EventSource` hands out only the event types it was told in advance
// and reconnects with a ticket that has run out.

import { useEffect, useState, useSyncExternalStore } from "react";
import * as calls from "./calls";
import { session } from "./session";
import type { LogEvent } from "./types";

export type LiveState = "off" | "connecting" | "live" | "reconnecting";

const KEPT = 300;
/** Three missed heartbeats (one comes every 15 s): the connection is dead, whatever TCP says. */
const SILENCE_MS = 50_000;

interface Snapshot {
  state: LiveState;
  /** Newest first, at most {@link KEPT}. */
  recent: LogEvent[];
  lastAt: number | null;
}

let snapshot: Snapshot = { state: "off", recent: [], lastAt: null };
const watchers = new Set<() => void>();
const receivers = new Set<(event: LogEvent) => void>();
let controller: AbortController | null = null;
let position: string | null = null;
let pending: LogEvent[] = [];
let flushing = false;

function update(change: Partial<Snapshot>) {
  snapshot = { ...snapshot, ...change };
  for (const watcher of watchers) watcher();
}

/** Many events of one chunk are shown in one go: a sync can bring hundreds a second. */
function receive(event: LogEvent) {
  pending.push(event);
  for (const receiver of receivers) receiver(event);
  if (flushing) return;
  flushing = true;
  setTimeout(() => {
    flushing = false;
    const batch = pending.reverse();
    pending = [];
    update({ recent: [...batch, ...snapshot.recent].slice(0, KEPT), lastAt: Date.now() });
  }, 80);
}

/** Parses server-sent events as the standard says, as far as this stream uses it. */
export class SseParser {
  private rest = "";
  private type = "";
  private id = "";
  private data: string[] = [];

  constructor(private readonly emit: (event: { type: string; id: string; data: string }) => void) {}

  push(chunk: string) {
    const lines = (this.rest + chunk).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    for (const line of lines) this.line(line);
  }

  private line(line: string) {
    if (line === "") {
      if (this.data.length > 0)
        this.emit({ type: this.type || "message", id: this.id, data: this.data.join("\n") });
      this.type = "";
      this.data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // A comment: the heartbeat.
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.type = value;
    else if (field === "id") this.id = value;
    else if (field === "data") this.data.push(value);
  }
}

async function connectOnce(signal: AbortSignal) {
  const { ticket } = await calls.events.ticket();
  // Without a position the stream would begin at the organisation's first event.
  const query = new URLSearchParams({ ticket, from: position ?? "now" });
  const connection = new AbortController();
  const stop = () => connection.abort();
  signal.addEventListener("abort", stop);
  let silence: ReturnType<typeof setTimeout> | undefined;
  const heard = () => {
    clearTimeout(silence);
    silence = setTimeout(stop, SILENCE_MS);
  };
  try {
    const response = await fetch(`/api/v1/events/stream?${query}`, {
      headers: { accept: "text/event-stream" },
      signal: connection.signal,
    });
    if (response.status === 410) position = null; // Of another log, after a restore.
    if (!response.ok || !response.body)
      throw new Error(`the event stream answered ${response.status}`);
    update({ state: "live", lastAt: Date.now() });
    const parser = new SseParser(({ type, id, data }) => {
      if (id) position = id;
      try {
        const event = JSON.parse(data) as LogEvent;
        if (event.aggregate_type) receive({ ...event, type: event.type ?? type });
      } catch {
        // Not one of ours: a newer server may send other things.
      }
    });
    const reader = response.body.getReader();
    const decoder = new TextDecoder();
    heard();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      parser.push(decoder.decode(value, { stream: true }));
    }
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", stop);
  }
}

async function run(signal: AbortSignal) {
  let failures = 0;
  while (!signal.aborted) {
    const began = Date.now();
    try {
      await connectOnce(signal);
    } catch {
      // Told by the state; tried again below.
    }
    if (signal.aborted || !session.get()) return;
    failures = Date.now() - began > 10_000 ? 0 : failures + 1;
    update({ state: failures > 1 || snapshot.lastAt !== null ? "reconnecting" : "connecting" });
    const pause = Math.min(15_000, 400 * 2 ** Math.min(failures, 6)) * (0.75 + Math.random() / 2);
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, pause);
      signal.addEventListener("abort", () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

export const live = {
  start() {
    if (controller) return;
    controller = new AbortController();
    update({ state: "connecting" });
    void run(controller.signal);
  },
  stop() {
    controller?.abort();
    controller = null;
    position = null;
    pending = [];
    update({ state: "off", recent: [], lastAt: null });
  },
  onEvent(receiver: (event: LogEvent) => void) {
    receivers.add(receiver);
    return () => void receivers.delete(receiver);
  },
  subscribe(watcher: () => void) {
    watchers.add(watcher);
    return () => void watchers.delete(watcher);
  },
  get: () => snapshot,
};

export function useLive(): Snapshot {
  return useSyncExternalStore(live.subscribe, live.get);
}

/** How many matching events came since `reset`: what a list gathers instead of moving its rows. */
export function useGathered(matches: (event: LogEvent) => boolean): [number, () => void] {
  const [count, setCount] = useState(0);
  useEffect(
    () => live.onEvent((event) => matches(event) && setCount((before) => before + 1)),
    [matches],
  );
  return [count, () => setCount(0)];
}
