// Every call of the contract this screen makes, by its resource.

import { request, send, upload, type Query } from "./client";
import type * as t from "./types";

const v1 = "/api/v1";
const get = <T>(path: string, query?: Query, signal?: AbortSignal) =>
  request<T>("GET", v1 + path, { query, signal });
const post = <T>(path: string, body?: unknown) => request<T>("POST", v1 + path, { body });
const put = <T>(path: string, body: unknown) => request<T>("PUT", v1 + path, { body });
const patch = <T>(path: string, body: unknown) => request<T>("PATCH", v1 + path, { body });
const remove = (path: string) => request<void>("DELETE", v1 + path);
const id = encodeURIComponent;

export const auth = {
  register: (body: { organization: string; email: string; password: string }) =>
    request<t.Tokens>("POST", `${v1}/auth/register`, { body, anonymous: true }),
  login: (body: { email: string; password: string }) =>
    request<t.Tokens>("POST", `${v1}/auth/login`, { body, anonymous: true }),
  logout: (refreshToken: string) => post<void>("/auth/logout", { refresh_token: refreshToken }),
};

export const users = {
  list: () => get<t.Page<t.User>>("/users"),
  create: (body: { email: string; password: string; role: t.Role }) => post<t.User>("/users", body),
  setRole: (userId: string, role: t.Role) => patch<t.User>(`/users/${id(userId)}`, { role }),
  remove: (userId: string) => remove(`/users/${id(userId)}`),
};

export const apiKeys = {
  list: () => get<t.Page<t.ApiKey>>("/api-keys"),
  create: (body: { name: string; role: t.Role }) =>
    post<t.ApiKey & { key: string }>("/api-keys", body),
  revoke: (keyId: string) => remove(`/api-keys/${id(keyId)}`),
};

export const connectors = { list: () => get<t.Page<t.Connector>>("/aam/connectors") };

export const connections = {
  list: () => get<t.Page<t.Connection>>("/aam/connections", { limit: 1000 }),
  get: (connectionId: string) => get<t.Connection>(`/aam/connections/${id(connectionId)}`),
  create: (body: { name: string; connector: string; config: Record<string, unknown> }) =>
    post<t.Connection>("/aam/connections", body),
  update: (
    connectionId: string,
    body: { name?: string; config?: Record<string, unknown>; limits?: t.ConnectionLimits },
  ) => patch<t.Connection>(`/aam/connections/${id(connectionId)}`, body),
  pause: (connectionId: string) =>
    post<t.Connection>(`/aam/connections/${id(connectionId)}/pause`, {}),
  resume: (connectionId: string) =>
    post<t.Connection>(`/aam/connections/${id(connectionId)}/resume`, {}),
  /** Reads one stream anew, from its beginning. */
  backfill: (connectionId: string, stream: string) =>
    post<{ task_id: string; sync_id: string }>(
      `/aam/connections/${id(connectionId)}/streams/${id(stream)}/backfill`,
      {},
    ),
  remove: (connectionId: string) => remove(`/aam/connections/${id(connectionId)}`),
  test: (connectionId: string) =>
    post<t.TestResult>(`/aam/connections/${id(connectionId)}/test`, {}),
  discover: (connectionId: string) =>
    post<{ streams: t.DiscoveredStream[] }>(`/aam/connections/${id(connectionId)}/discover`, {}),
  selectStreams: (connectionId: string, streams: t.StreamSelection[]) =>
    put<unknown>(`/aam/connections/${id(connectionId)}/streams`, { streams }),
  sync: (connectionId: string) =>
    post<{ task_id: string; sync_id: string }>(`/aam/connections/${id(connectionId)}/syncs`, {}),
  schemas: (connectionId: string) =>
    get<t.Page<t.SchemaVersion>>(`/aam/connections/${id(connectionId)}/schemas`, { limit: 1000 }),
};

export const schedules = {
  list: (query: { connection_id?: string }) =>
    get<t.Page<t.Schedule>>("/schedules", { limit: 1000, ...query }),
  create: (body: { name: string; cron: string; time_zone: string; connection_id: string }) =>
    post<t.Schedule>("/schedules", { action: "sync", ...body }),
  update: (
    scheduleId: string,
    body: { name?: string; cron?: string; time_zone?: string; enabled?: boolean },
  ) => patch<t.Schedule>(`/schedules/${id(scheduleId)}`, body),
  remove: (scheduleId: string) => remove(`/schedules/${id(scheduleId)}`),
};

export const syncs = {
  list: (query: { connection_id?: string; limit?: number; cursor?: string }) =>
    get<t.Page<t.Sync>>("/aam/syncs", query),
  get: (syncId: string) => get<t.Sync>(`/aam/syncs/${id(syncId)}`),
};

export const drift = {
  list: (query: { connection_id?: string; status?: string; limit?: number; cursor?: string }) =>
    get<t.Page<t.Drift>>("/aam/drift", query),
};

export const mappings = {
  list: (query: { connection_id?: string; stream?: string }) =>
    get<t.Page<t.Mapping>>("/aam/mappings", { limit: 1000, ...query }),
  /** `version` is the one it was made from: refused when there is a newer one. */
  revise: (mappingId: string, body: t.MappingContent & { version: number }) =>
    put<t.Mapping>(`/aam/mappings/${id(mappingId)}`, body),
};

export const repairs = {
  list: (query: { status?: string; connection_id?: string; limit?: number; cursor?: string }) =>
    get<t.Page<t.Repair>>("/aam/repairs", query),
  get: (repairId: string) => get<t.Repair>(`/aam/repairs/${id(repairId)}`),
  /** Of the drifts named, or of all. */
  approve: (repairId: string, body: { mapping?: t.MappingContent; drift_ids?: string[] } = {}) =>
    post<t.Repair>(`/aam/repairs/${id(repairId)}/approve`, body),
  reject: (repairId: string, body: { drift_ids?: string[] } = {}) =>
    post<t.Repair>(`/aam/repairs/${id(repairId)}/reject`, body),
  rollBack: (repairId: string) => post<t.Repair>(`/aam/repairs/${id(repairId)}/rollback`, {}),
  backtest: (policy: t.RepairPolicy) => post<t.Backtest>("/aam/repairs/backtest", { policy }),
  /** What approving it, or rolling it back, would change; nothing is written. */
  dryRun: (
    repairId: string,
    body: { mapping?: t.MappingContent; drift_ids?: string[]; field?: string },
  ) => post<t.DryRun>(`/aam/repairs/${id(repairId)}/dry-run`, body),
};

export const quarantine = {
  list: (query: { connection_id?: string; stream?: string; limit?: number; cursor?: string }) =>
    get<t.Page<t.QuarantineItem>>("/aam/quarantine", query),
};

export const policy = {
  get: () => get<t.RepairPolicy>("/aam/policy"),
  set: (body: t.RepairPolicy) => put<t.RepairPolicy>("/aam/policy", body),
};
export const policies = {
  get: () => get<t.Policies>("/aam/policies"),
  /** `version` is the one they were edited from: refused when there is a newer one. */
  set: (body: t.Policies) => put<t.Policies>("/aam/policies", body),
};
export const llm = {
  settings: () => get<t.LlmState>("/llm/settings"),
  set: (body: t.LlmSettings) => put<t.LlmState>("/llm/settings", body),
  usage: () => get<t.LlmUsage>("/llm/usage"),
};
export const autonomy = {
  get: () => get<{ mode: t.AutonomyMode }>("/aoa/autonomy"),
  set: (mode: t.AutonomyMode) => put<{ mode: t.AutonomyMode }>("/aoa/autonomy", { mode }),
};

export const uploads = {
  list: () => get<t.Page<t.Upload>>("/uploads"),
  send: (file: File, onProgress: (sent: number, total: number) => void, signal?: AbortSignal) =>
    upload<t.Upload>(`${v1}/uploads?filename=${id(file.name)}`, file, onProgress, signal),
};

export const dcl = {
  ontology: () => get<t.Ontology>("/dcl/ontology"),
  views: () => get<t.Page<t.ViewSummary>>("/dcl/views"),
  rows: (entity: string, query: Query, signal?: AbortSignal) =>
    get<t.Page<t.ViewRow>>(`/dcl/views/${id(entity)}`, query, signal),
  row: (entity: string, rowId: string, query: Query) =>
    get<t.ViewRow>(`/dcl/views/${id(entity)}/${id(rowId)}`, query),
  lineage: (entity: string, rowId: string) =>
    get<{ fields: t.FieldLineage[] }>(`/dcl/views/${id(entity)}/${id(rowId)}/lineage`),
  graph: () => get<t.Graph>("/dcl/graph"),
  /** The file itself, as the server streams it. */
  async export(entity: string, format: string, query: Query): Promise<Blob> {
    const parameters = new URLSearchParams({ format });
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined && value !== null && value !== "")
        parameters.set(name, String(value));
    }
    const response = await send("GET", `${v1}/dcl/views/${id(entity)}/export?${parameters}`, {});
    return response.blob();
  },
};

export const tasks = {
  list: (query: { status?: string; limit?: number; cursor?: string }) =>
    get<t.Page<t.Task>>("/tasks", query),
  get: (taskId: string) => get<t.Task>(`/tasks/${id(taskId)}`),
  log: (taskId: string) => get<t.Page<t.TaskLogLine>>(`/tasks/${id(taskId)}/log`),
  cancel: (taskId: string) => post<t.Task>(`/tasks/${id(taskId)}/cancel`, {}),
  retry: (taskId: string) => post<t.Task>(`/tasks/${id(taskId)}/retry`, {}),
};

export const history = {
  list: (query: Query) => get<t.Page<t.LogEvent>>("/history", query),
  verify: () => get<t.VerifyReport>("/history/verify"),
};

export const projections = {
  list: () => get<t.Page<t.Projection>>("/ops/projections"),
  rebuild: (name: string) => post<unknown>(`/ops/projections/${id(name)}/rebuild`, {}),
  rebuildPause: (name: string) => post<unknown>(`/ops/projections/${id(name)}/rebuild/pause`, {}),
  rebuildResume: (name: string) => post<unknown>(`/ops/projections/${id(name)}/rebuild/resume`, {}),
  rebuildAbort: (name: string) => remove(`/ops/projections/${id(name)}/rebuild`),
};

export const events = {
  ticket: () => post<{ ticket: string }>("/events/ticket", {}),
};
