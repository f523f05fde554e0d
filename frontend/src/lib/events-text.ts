// Events in the words of a person.

import type { Actor, LogEvent } from "@/api/types";
import { count, many, driftKind, humanize, percent } from "./format";

type Payload = Record<string, unknown>;
const text = (value: unknown) => (typeof value === "string" ? value : "");
const record = (value: unknown): Payload =>
  value && typeof value === "object" ? (value as Payload) : {};

const SAY: Record<string, (payload: Payload) => string> = {
  ConnectionCreated: (p) => `Connection “${text(p.name)}” created`,
  ConnectionUpdated: (p) => `Connection “${text(p.name)}” changed`,
  ConnectionTested: (p) =>
    p.ok ? "Connection tested: the source answers" : `Connection test failed: ${text(p.message)}`,
  StreamsDiscovered: (p) =>
    `${many((p.streams as unknown[] | undefined)?.length ?? 0, "stream")} discovered`,
  StreamsSelected: (p) =>
    `${many((p.streams as unknown[] | undefined)?.length ?? 0, "stream")} chosen`,
  ConnectionDeleted: () => "Connection deleted",
  LimitsSet: () => "Limits of the connection changed",
  AttemptFailed: (p) => `Try ${String(p.attempt ?? "")} failed: ${text(record(p.failure).message)}`,
  SyncWentWell: () => "The connection's sync went well",
  SyncWentWrong: (p) =>
    `The connection's sync failed, ${many(Number(p.consecutive_failures ?? 1), "time")} in a row`,
  ConnectionWarned: (p) =>
    `Warning: ${many(Number(p.consecutive_failures ?? 1), "sync", "syncs")} failed in a row`,
  ConnectionPaused: () => "Connection paused",
  ConnectionResumed: () => "Connection resumed",
  RequestsCounted: (p) => `${count(Number(record(p.count).requests ?? 0))} requests today`,
  ScheduleAttached: () => "Schedule added",
  ScheduleDetached: () => "Schedule removed",
  ScheduleCreated: (p) => `Schedule “${text(p.name)}” made`,
  ScheduleChanged: (p) => `Schedule “${text(p.name)}” changed`,
  ScheduleRan: (p) =>
    record(p.outcome).result === "started"
      ? "Schedule: a sync began"
      : `Schedule: let pass (${humanize(text(record(p.outcome).reason)).toLowerCase()})`,
  ScheduleDeleted: () => "Schedule ended",
  RecordsIngested: (p) => {
    const rows = record(p.batch).rows;
    return `${typeof rows === "number" ? count(rows) : "New"} rows of ${text(record(p.state).stream) || "a stream"} are in the log`;
  },
  SnapshotStarted: (p) => `Reading ${text(record(p.state).stream) || "a stream"} whole`,
  SnapshotCompleted: (p) =>
    `${text(record(p.state).stream) || "A stream"} read whole: ${count(p.rows as number | undefined)} rows`,
  StreamSyncStarted: (p) => `Reading ${text(p.stream)}`,
  StreamSyncProgressed: (p) =>
    `${text(p.stream)}: ${count(record(p.progress).rows_read as number | undefined)} rows so far`,
  StreamSyncCompleted: (p) =>
    `${text(p.stream)}: ${count(record(p.progress).rows_read as number | undefined)} rows read`,
  StreamSyncFailed: (p) => `${text(p.stream)} failed: ${text(p.message)}`,
  SyncFailed: (p) => `Sync failed: ${text(p.message)}`,
  SchemaVersionRecorded: (p) =>
    `Schema version ${String(p.version ?? "")} of ${text(p.stream)} recorded`,
  DriftDetected: (p) => {
    const finding = record(p.finding);
    return `Drift: ${driftKind(text(finding.kind)).toLowerCase()}${finding.field ? ` (${text(finding.field)})` : ""}`;
  },
  RepairProposed: (p) =>
    p.status === "auto_applied"
      ? `Repair applied by itself at ${percent(p.confidence as number)}`
      : `Repair proposed at ${percent(p.confidence as number | undefined)}`,
  MappingCreated: (p) =>
    `${text(p.stream)} mapped to ${text(record(p.content).entity) || "no entity"}`,
  MappingRevised: (p) => `Mapping changed, version ${String(p.version ?? "")}`,
  TaskQueued: (p) => `Task queued: ${text(p.action)}`,
  UploadStored: (p) => `File ${text(record(p.upload).file_name)} uploaded`,
  RepairJudged: () => "Probabilities learned from a decision",
  RepairRulesRevised: () => "Repair policies revised",
  AutonomyModeSet: (p) => `Autonomy set to ${humanize(text(p.mode)).toLowerCase()}`,
};

export function eventText(event: LogEvent): string {
  try {
    return SAY[event.type]?.(event.payload ?? {}) ?? (event.summary || humanize(event.type));
  } catch {
    return humanize(event.type);
  }
}

export function actorText(actor: Actor | undefined): string {
  if (!actor) return "–";
  if (typeof actor === "string") return actor;
  const who = actor.email ?? actor.name ?? actor.id ?? "";
  return actor.kind === "system"
    ? `system: ${who}`
    : actor.kind === "api_key"
      ? `API key ${who}`
      : who;
}

export type Family = "source" | "entity" | "agent" | "neutral";

/** Whose event it is: a source's, an entity's, or an agent's work. */
export function eventFamily(event: LogEvent): Family {
  switch (event.aggregate_type) {
    case "connection":
    case "feed":
    case "sync":
      return "source";
    case "identity":
    case "unified-view":
    case "ontology":
      return "entity";
    case "mapping":
    case "stream-schema":
    case "agent":
      return "agent";
    default:
      return "neutral";
  }
}
