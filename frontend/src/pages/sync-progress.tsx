// The progress of a sync, from its committed events alone: no timer pretends to be work.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useMemo } from "react";
import { useLive } from "@/api/events";
import { q } from "@/api/queries";
import type { ErrorDetail, LogEvent, Sync, SyncStream } from "@/api/types";
import { bytes, count, duration } from "@/lib/format";
import { Progress } from "@/ui/display";

export const isActive = (sync: Sync) => sync.status === "queued" || sync.status === "running";

interface Reported {
  rows: number;
  bytes: number;
  total: number | null;
  at: number;
  done: boolean;
  /** Rows a second between the first and the latest report heard. */
  rate: number | null;
}

interface ProgressPayload {
  stream?: string;
  progress?: { rows_read?: number; bytes?: number };
  total_rows?: number | null;
}

/** What the events heard so far say of each stream of a sync; `events` are newest first. */
export function progressOf(events: LogEvent[], syncId: string): Map<string, Reported> {
  const streams = new Map<string, Reported>();
  const first = new Map<string, { rows: number; at: number }>();
  for (const event of [...events].reverse()) {
    if (event.aggregate_id !== syncId || !event.type.startsWith("StreamSync")) continue;
    const payload = event.payload as ProgressPayload;
    if (!payload.stream) continue;
    const at = Date.parse(event.recorded_at);
    const rows = payload.progress?.rows_read ?? 0;
    const before = first.get(payload.stream);
    if (!before) first.set(payload.stream, { rows, at });
    streams.set(payload.stream, {
      rows,
      bytes: payload.progress?.bytes ?? 0,
      total: payload.total_rows ?? streams.get(payload.stream)?.total ?? null,
      at,
      done: event.type === "StreamSyncCompleted",
      rate: before && at > before.at ? (rows - before.rows) / ((at - before.at) / 1000) : null,
    });
  }
  return streams;
}

const errorOf = (error: string | ErrorDetail | null | undefined) =>
  !error
    ? null
    : typeof error === "string"
      ? error
      : [error.message, error.code && `(${error.code})`].filter(Boolean).join(" ");

export function SyncStreams({ sync: listed }: { sync: Sync }) {
  const { recent } = useLive();
  const detail = useQuery(q.sync(listed.id));
  const sync = detail.data ?? listed;
  const reported = useMemo(() => progressOf(recent, sync.id), [recent, sync.id]);
  const names = [
    ...new Set([
      ...sync.streams.map((stream) => stream.name),
      ...(isActive(sync) ? reported.keys() : []),
    ]),
  ];
  const failure = errorOf(sync.error);
  return (
    <div className="flex flex-col gap-4">
      {failure ? (
        <p
          role="alert"
          className="rounded-xl bg-danger-soft px-4 py-3 text-sm font-semibold text-danger"
        >
          {failure}
        </p>
      ) : null}
      {names.length === 0 ? (
        <p className="text-sm text-muted">
          {isActive(sync) ? "Waiting for a worker…" : "No stream was read."}
        </p>
      ) : (
        <ul className="grid gap-3 lg:grid-cols-2" aria-live={isActive(sync) ? "polite" : undefined}>
          {names.map((name) => (
            <StreamProgress
              key={name}
              name={name}
              connectionId={sync.connection_id}
              active={isActive(sync)}
              stored={sync.streams.find((stream) => stream.name === name)}
              heard={reported.get(name)}
            />
          ))}
        </ul>
      )}
      <div className="flex flex-wrap gap-x-6">
        <Link
          to="/history"
          search={{ aggregate_id: sync.id }}
          className="inline-flex min-h-11 items-center text-sm font-bold text-accent-strong underline underline-offset-4"
        >
          Events of this run
        </Link>
        {sync.task_id ? (
          <Link
            to="/tasks"
            search={{ id: sync.task_id }}
            className="inline-flex min-h-11 items-center text-sm font-bold text-accent-strong underline underline-offset-4"
          >
            Its task
          </Link>
        ) : null}
      </div>
    </div>
  );
}

function StreamProgress({
  name,
  connectionId,
  active,
  stored,
  heard,
}: {
  name: string;
  connectionId: string;
  active: boolean;
  stored: SyncStream | undefined;
  heard: Reported | undefined;
}) {
  const rows = Math.max(stored?.rows_read ?? 0, heard?.rows ?? 0);
  const size = Math.max(stored?.bytes ?? 0, heard?.bytes ?? 0);
  const total = heard?.total ?? stored?.total_rows ?? null;
  const running = active && !heard?.done && stored?.status !== "completed";
  const left =
    running && heard?.rate && total && total > rows ? ((total - rows) / heard.rate) * 1000 : null;
  const failure = errorOf(stored?.error);
  return (
    <li className="rounded-xl border border-line p-4">
      <div className="flex items-baseline justify-between gap-4">
        <span className="font-bold break-all">{name}</span>
        <span className="data whitespace-nowrap">
          {count(rows)}
          {running && total ? ` of ${count(total)}` : ""} rows
        </span>
      </div>
      {running ? (
        <div className="mt-3">
          <Progress value={total ? rows / total : null} label={`Rows of ${name}`} tone="source" />
        </div>
      ) : null}
      <p className="data mt-2 flex flex-wrap gap-x-4 text-muted">
        {size ? <span>{bytes(size)}</span> : null}
        {running && heard?.rate ? <span>{count(Math.round(heard.rate))} rows/s</span> : null}
        {left ? <span>{duration(left)} left</span> : null}
        {stored?.rows_canonical !== undefined && stored.rows_canonical !== null ? (
          <span>{count(stored.rows_canonical)} in views</span>
        ) : null}
        {stored?.rows_quarantined ? (
          <Link
            to="/connections/$connectionId"
            params={{ connectionId }}
            search={{ tab: "quarantine" }}
            className="text-warn underline underline-offset-4"
          >
            {count(stored.rows_quarantined)} in quarantine
          </Link>
        ) : null}
      </p>
      {failure ? <p className="mt-2 text-sm font-semibold text-danger">{failure}</p> : null}
    </li>
  );
}
