// The shapes of the HTTP contract this screen relies on.

export interface Page<T> {
  data: T[];
  meta?: { next_cursor?: string | null; position?: string | null; total?: number | null };
}

export type Role = "viewer" | "editor" | "admin" | "owner";

export interface User {
  id: string;
  email: string;
  role: Role;
  created_at?: string;
}
export interface Tenant {
  id: string;
  name: string;
}
export interface Tokens {
  user: User;
  tenant: Tenant;
  access_token: string;
  refresh_token: string;
  expires_in: number;
}
export interface ApiKey {
  id: string;
  name: string;
  prefix: string;
  role: Role;
  created_at?: string;
  expires_at?: string | null;
}

export interface JsonSchema {
  type?: string | string[];
  title?: string;
  description?: string;
  properties?: Record<string, JsonSchema>;
  required?: string[];
  enum?: unknown[];
  const?: unknown;
  oneOf?: JsonSchema[];
  anyOf?: JsonSchema[];
  default?: unknown;
  examples?: unknown[];
  pattern?: string;
  format?: string;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  writeOnly?: boolean;
  /** The properties in the order a person wants them. */
  "x-order"?: string[];
  items?: JsonSchema;
}
export interface Connector {
  id: string;
  name: string;
  description?: string;
  config_schema: JsonSchema;
  capabilities?: Record<string, boolean>;
}

export type SyncMode = "full" | "incremental" | "cdc";
export interface StreamSelection {
  name: string;
  sync_mode?: SyncMode | null;
  cursor_field?: string | null;
  primary_key?: string[] | null;
  entity?: string | null;
  priority?: number;
}
export interface Connection {
  id: string;
  name: string;
  connector: string;
  status: string;
  config?: Record<string, unknown>;
  /** As chosen; empty: all that the source offers. */
  streams: StreamSelection[];
  message?: string | null;
  health: Health;
  limits: ConnectionLimits;
  last_tested_at?: string | null;
  last_synced_at?: string | null;
  created_at?: string;
  updated_at?: string;
}
export interface Failure {
  kind: string;
  code: string;
  message: string;
}
/** How a connection is, by its syncs and tests. */
export interface Health {
  consecutive_failures: number;
  warned: boolean;
  last_success_at: string | null;
  last_failure_at: string | null;
  last_failure: Failure | null;
  paused: {
    at: string;
    reason: "repeated_failure" | "refused" | "asked";
    failure?: Failure;
  } | null;
  circuit: { until: string; opened: number } | null;
  requests: { day: string; requests: number } | null;
}
export interface ConnectionLimits {
  warn_after?: number;
  pause_after?: number;
  pause_after_refused?: number;
  requests_per_day?: number;
}
export type RunOutcome =
  | { result: "started"; task_id: string; sync_id: string }
  | { result: "skipped"; reason: string; task_id?: string };
export interface Schedule {
  id: string;
  name: string;
  cron: string;
  time_zone: string;
  action: "sync";
  connection_id: string;
  enabled: boolean;
  next_run_at: string | null;
  last_run_at: string | null;
  last_task_id: string | null;
  last_slot: string | null;
  last_outcome: RunOutcome | null;
}
export interface TestStep {
  name: string;
  passed: boolean;
  message?: string | null;
}
export interface TestResult {
  ok: boolean;
  latency_ms: number;
  message: string;
  steps?: TestStep[];
}
export interface StreamField {
  name: string;
  type: string;
  nullable: boolean;
  format?: string | null;
}
export interface DiscoveredStream {
  name: string;
  fields: StreamField[];
  primary_key: string[];
  cursor_fields: string[];
  sync_modes: SyncMode[];
  estimated_rows?: number | null;
  /** What the fields were learnt from, where a source has no schema of its own. */
  sampled?: { documents: number; paths: Record<string, Record<string, number>> } | null;
}

export type SyncStatus = "queued" | "running" | "succeeded" | "failed" | "cancelled";
export interface SyncStream {
  name: string;
  status?: string;
  rows_read: number;
  rows_canonical?: number | null;
  rows_quarantined?: number | null;
  bytes?: number;
  total_rows?: number | null;
  error?: string | ErrorDetail | null;
}
export interface ErrorDetail {
  code?: string;
  message?: string;
}
export interface Sync {
  id: string;
  connection_id: string;
  task_id?: string;
  status: SyncStatus;
  streams: SyncStream[];
  requested_at?: string | null;
  started_at?: string | null;
  finished_at?: string | null;
  error?: string | ErrorDetail | null;
}

export interface SchemaVersion {
  stream: string;
  version: number;
  fingerprint: string;
  fields: StreamField[];
  primary_key?: string[];
  first_seen_at: string;
}

export interface Evidence {
  signal: string;
  score: number;
  detail: string;
}
export interface DriftSide {
  fields?: StreamField[];
  samples?: string[];
  summary?: string | null;
}
export interface Drift {
  id: string;
  connection_id: string;
  stream: string;
  kind: string;
  field: string | null;
  before?: DriftSide | null;
  after?: DriftSide | null;
  severity: "info" | "warning" | "critical";
  confidence?: number;
  evidence?: Evidence[];
  status: string;
  detected_at: string;
}

export type Transform = { op: string } & Record<string, unknown>;
export interface MappingField {
  source: string;
  also?: string[];
  target: string;
  transform: Transform;
  confidence: number;
  origin: string;
  evidence?: Evidence[];
}
export interface MappingContent {
  entity: string | null;
  key: string[];
  fields: MappingField[];
}
/** Batches of a schema version are read under the mapping version bound to it. */
export interface Binding {
  schema_version: number;
  mapping_version: number;
  /** Fields that keep their last good value while a repair waits. */
  held: string[];
  /** The key drifted: whole rows wait. */
  hold_rows: boolean;
}
export interface Mapping extends MappingContent {
  id: string;
  connection_id: string;
  stream: string;
  version: number;
  bindings?: Binding[];
}

export type Overlap = {
  result: "agrees" | "objects" | "unknown";
  compared: number;
  disagreeing?: number;
};
export interface RepairChange {
  drift_id: string;
  old_source: string;
  new_sources: string[];
  adapt?: Transform | null;
  probability: number;
  evidence: Evidence[];
  overlap: Overlap;
  /** What found it. */
  origin?: string;
}
export interface Repair {
  id: string;
  connection_id: string;
  stream: string;
  entity?: string | null;
  drift_ids?: string[];
  drift_id?: string;
  status: string;
  confidence: number;
  /** The mapping as it would become, or became. */
  proposal: {
    changes: RepairChange[];
    /** Its drifts, by what is decided together. */
    together?: string[][];
    mapping?: MappingContent | null;
  };
  /** The mapping in force when it was proposed. */
  before?: MappingContent | null;
  drifts?: Partial<Drift>[];
  created_at: string;
  decided_at?: string | null;
  decided_by?: string | null;
  /** After a decision about a part: the proposal that its rest became. */
  rest_id?: string;
}

/** What a policy would have done alone on what people decided. */
export interface Backtest {
  proposals: number;
  undecided: number;
  changes: number;
  right: number;
  automatic: number;
  automatic_right: number;
  automatic_wrong: number;
  asked: number;
  held: number;
  precision: number | null;
  recall: number | null;
  coverage: number | null;
  calibration: {
    ece: number | null;
    bins: {
      from: number;
      to: number;
      changes: number;
      said: number | null;
      found: number | null;
    }[];
  };
  /** There are older repairs than those looked at. */
  truncated: boolean;
}

export interface DryRunCells {
  changed: number;
  filled: number;
  emptied: number;
  quarantined: number;
  released: number;
}
export interface DryRunExample {
  entity: string;
  record_id: string;
  source_id: string;
  field: string;
  kind: "changed" | "filled" | "emptied" | "quarantined";
  before: string | null;
  after: string | null;
  reason: string;
}
/** What the next decision about a repair would change. */
export interface DryRun {
  repair_id: string;
  action: "approve" | "rollback";
  position: string;
  entity: string | null;
  rows: {
    affected: number;
    added: number;
    removed: number;
    unified: number;
    quarantined: number;
    released: number;
  };
  cells: DryRunCells;
  fields: ({ entity: string; field: string } & DryRunCells)[];
  examples: DryRunExample[];
}

export interface OntologyField {
  name: string;
  type: string;
  semantic?: string;
  description?: string;
  unit?: string | null;
  references?: string | null;
  protected?: boolean;
}
export interface OntologyEntity {
  name: string;
  plural: string;
  description?: string;
  fields: OntologyField[];
}
export interface Ontology {
  version: number;
  entities: OntologyEntity[];
}

export interface ViewSummary {
  entity: string;
  plural?: string;
  rows: number;
  description?: string;
  /** Rows put together from more than one source. */
  merged?: number;
  sources?: number;
  held?: number;
  updated_at?: string | null;
}
export interface RowSource {
  connection_id: string;
  stream: string;
  source_id: string;
}
export type ViewRow = {
  id: string;
  _sources?: RowSource[];
  _updated_at?: string;
  _held?: string[];
  _extra?: Record<string, unknown>;
} & Record<string, unknown>;

export interface FieldLineage {
  field: string;
  value?: unknown;
  connection_id?: string | null;
  stream?: string | null;
  source_id?: string | null;
  /** The batch, as its place in the log. */
  batch?: string | null;
  /** Row within the batch, from 0. */
  row?: number | null;
  source_columns?: string[];
  transform?: Transform | null;
  mapping_version?: number | null;
  schema_version?: number | null;
  rule?: string | null;
  changed_at?: string | null;
  held?: boolean;
  /** What the row's other records say of the field. */
  others?: (RowSource & { value: unknown; changed_at?: string | null })[];
}

export interface GraphNode {
  id: string;
  kind: "source" | "stream" | "entity" | "agent";
  label: string;
}
export interface GraphEdge {
  from: string;
  to: string;
  /** `has`, `feeds`, or `references` between entities. */
  kind?: string;
  fields?: string[];
  confidence?: number | null;
}
export interface Graph {
  nodes: GraphNode[];
  edges: GraphEdge[];
}

export interface Task {
  id: string;
  action: string;
  status: string;
  payload?: Record<string, unknown>;
  attempt?: number;
  max_retries?: number;
  progress?: { done?: number; total?: number | null; note?: string } | null;
  run_at?: string | null;
  created_at?: string;
  started_at?: string | null;
  finished_at?: string | null;
  error?: string | ErrorDetail | null;
  result?: unknown;
}
export interface TaskLogLine {
  at: string;
  event: string;
  detail: Record<string, unknown> | null;
}

export type Actor = string | { kind: string; id?: string; name?: string; email?: string };
export interface LogEvent {
  position: string;
  type: string;
  aggregate_type: string;
  aggregate_id: string;
  version: number;
  recorded_at: string;
  actor?: Actor;
  payload: Record<string, unknown>;
  correlation_id?: string;
  causation_id?: string | null;
  /** One line for people, where the server gives one. */
  summary?: string;
}
export interface VerifyReport {
  ok: boolean;
  commits_checked: number;
  broken?: unknown[];
}

export interface Projection {
  name: string;
  /** The part of the log it is about. */
  cell: number;
  version: number;
  generation: number;
  position: string;
  /** Commits behind the log's head. */
  lag: number;
  status: string;
  /** 0 to 1 while rebuilding. */
  rebuild_progress?: number | null;
  /** The rebuild stands still. */
  rebuild_paused: boolean;
  message?: string | null;
  poisoned: { tenant: string; code: string; message: string }[];
  /** Of several nodes, the one that keeps it. */
  node?: string;
}
/** A cell, or a whole row when `field` is null, that did not fit or waits for a repair. */
export interface QuarantineItem {
  entity: string | null;
  connection_id: string;
  stream: string;
  record_id: string | null;
  row: number;
  field: string | null;
  source_column: string | null;
  value: string | null;
  code: string;
  reason: string;
  since: string | null;
  position: string;
}
export interface Upload {
  id: string;
  file_name: string;
  bytes: number;
  content_hash?: string;
  uploaded_at?: string;
}
export type AutonomyMode = "observe" | "recommend" | "approve_to_act" | "auto";
export interface RepairPolicy {
  automatic_from: number;
  ask_from: number;
}
/** What the organisation allows language models, and their budget of a month. */
export interface LlmSettings {
  allowed: boolean;
  raw_values: boolean;
  tokens_per_month: number;
  cost_per_month: number;
}
export interface LlmState extends LlmSettings {
  /** The one the operator set up; null: none. */
  model: string | null;
  tokens_spent: number;
  cost_spent: number;
}
export interface LlmUsed {
  calls: number;
  failed: number;
  requests: number;
  input_tokens: number;
  output_tokens: number;
  cost: number;
  latency_ms: number;
  saved_by_retrieval: number;
}
export interface LlmUsageDay extends LlmUsed {
  day: string;
  /** Null: past decisions had the answer. */
  model: string | null;
  purpose: string;
}
export interface LlmUsage {
  total: LlmUsed;
  data: LlmUsageDay[];
}
export type DriftPolicy = "repair" | "propagate" | "hold" | "pause";
/** What holds for a connection, an entity or a field; what it leaves out is said by a wider rule. */
export interface RepairRule {
  connection_id?: string;
  entity?: string;
  field?: string;
  automatic_from?: number;
  ask_from?: number;
  protected?: boolean;
  on_drift?: DriftPolicy;
}
export interface Policies {
  version: number;
  rules: RepairRule[];
  expire_after_days: number | null;
}
