// What is asked from the server and cached, and which events make it stale.

import {
  infiniteQueryOptions,
  QueryClient,
  queryOptions,
  type QueryKey,
} from "@tanstack/react-query";
import * as calls from "./calls";
import { ApiError } from "./error";
import { live } from "./events";
import type { Page, Sync } from "./types";

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      gcTime: 10 * 60_000,
      retry: (failures, error) =>
        failures < 2 && (!(error instanceof ApiError) || error.status === 0 || error.status >= 502),
    },
    mutations: { retry: false },
  },
});

/** All pages of a list, up to `most` entries: for lists that a person scrolls as a whole. */
export async function everyPage<T>(
  fetchPage: (cursor: string | undefined) => Promise<Page<T>>,
  most = 5000,
): Promise<T[]> {
  const all: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await fetchPage(cursor);
    all.push(...page.data);
    cursor = page.meta?.next_cursor ?? undefined;
  } while (cursor && all.length < most);
  return all;
}

export const q = {
  connectors: () =>
    queryOptions({
      queryKey: ["connectors"],
      queryFn: async () => (await calls.connectors.list()).data,
      staleTime: Infinity,
    }),
  connections: () =>
    queryOptions({
      queryKey: ["connections"],
      queryFn: async () => (await calls.connections.list()).data,
    }),
  connection: (id: string) =>
    queryOptions({ queryKey: ["connections", id], queryFn: () => calls.connections.get(id) }),
  schedules: (connectionId: string) =>
    queryOptions({
      queryKey: ["schedules", connectionId],
      queryFn: async () => (await calls.schedules.list({ connection_id: connectionId })).data,
    }),
  schemas: (id: string) =>
    queryOptions({
      queryKey: ["schemas", id],
      queryFn: async () => (await calls.connections.schemas(id)).data,
    }),
  syncs: (connectionId?: string, limit = 50) =>
    queryOptions({
      queryKey: ["syncs", { connectionId, limit }],
      queryFn: async () => (await calls.syncs.list({ connection_id: connectionId, limit })).data,
      refetchInterval: (query) => pollWhileBlind(query.state.data),
    }),
  sync: (id: string) =>
    queryOptions({
      queryKey: ["syncs", id],
      queryFn: () => calls.syncs.get(id),
      refetchInterval: (query) => pollWhileBlind(query.state.data ? [query.state.data] : undefined),
    }),
  drift: (query: { connection_id?: string; status?: string; limit?: number }) =>
    queryOptions({
      queryKey: ["drift", query],
      queryFn: async () => (await calls.drift.list(query)).data,
    }),
  mappings: (query: { connection_id?: string; stream?: string }) =>
    queryOptions({
      queryKey: ["mappings", query],
      queryFn: async () => (await calls.mappings.list(query)).data,
    }),
  repairs: (query: { status?: string; connection_id?: string; limit?: number }) =>
    queryOptions({ queryKey: ["repairs", query], queryFn: () => calls.repairs.list(query) }),
  /** How many wait for a person: a number that may change at any time, unlike the list. */
  repairsWaiting: () =>
    queryOptions({
      queryKey: ["repairs-waiting"],
      queryFn: async () => {
        const page = await calls.repairs.list({ status: "pending_review", limit: 100 });
        return { count: page.data.length, more: Boolean(page.meta?.next_cursor) };
      },
    }),
  repair: (id: string) =>
    queryOptions({ queryKey: ["repairs", id], queryFn: () => calls.repairs.get(id) }),
  quarantine: (connectionId: string) =>
    infiniteQueryOptions({
      queryKey: ["quarantine", connectionId],
      queryFn: ({ pageParam }) =>
        calls.quarantine.list({ connection_id: connectionId, limit: 100, cursor: pageParam }),
      initialPageParam: undefined as string | undefined,
      getNextPageParam: (page) => page.meta?.next_cursor ?? undefined,
    }),
  ontology: () =>
    queryOptions({
      queryKey: ["ontology"],
      queryFn: () => calls.dcl.ontology(),
      staleTime: 5 * 60_000,
    }),
  views: () =>
    queryOptions({
      queryKey: ["views"],
      queryFn: async () => (await calls.dcl.views()).data,
    }),
  graph: () => queryOptions({ queryKey: ["graph"], queryFn: () => calls.dcl.graph() }),
  tasks: (query: { status?: string; limit?: number }) =>
    queryOptions({ queryKey: ["tasks", query], queryFn: () => calls.tasks.list(query) }),
  task: (id: string) =>
    queryOptions({ queryKey: ["tasks", id], queryFn: () => calls.tasks.get(id) }),
  taskLog: (id: string) =>
    queryOptions({
      queryKey: ["tasks", id, "log"],
      queryFn: async () => (await calls.tasks.log(id)).data,
    }),
  users: () =>
    queryOptions({ queryKey: ["users"], queryFn: async () => (await calls.users.list()).data }),
  apiKeys: () =>
    queryOptions({
      queryKey: ["api-keys"],
      queryFn: async () => (await calls.apiKeys.list()).data,
    }),
  autonomy: () => queryOptions({ queryKey: ["autonomy"], queryFn: () => calls.autonomy.get() }),
  policy: () => queryOptions({ queryKey: ["policy"], queryFn: () => calls.policy.get() }),
  policies: () => queryOptions({ queryKey: ["policies"], queryFn: () => calls.policies.get() }),
  llmSettings: () =>
    queryOptions({ queryKey: ["llm", "settings"], queryFn: () => calls.llm.settings() }),
  llmUsage: () => queryOptions({ queryKey: ["llm", "usage"], queryFn: () => calls.llm.usage() }),
  projections: () =>
    queryOptions({
      queryKey: ["projections"],
      queryFn: async () => (await calls.projections.list()).data,
    }),
};

/** Events tell what changed; only while they cannot be heard is a running sync asked for. */
function pollWhileBlind(syncs: Sync[] | undefined): number | false {
  const running = syncs?.some((sync) => sync.status === "queued" || sync.status === "running");
  return running && live.get().state !== "live" ? 3_000 : false;
}

/** What an event of an aggregate makes stale. Row lists are left out: they gather and offer. */
const STALE: Record<string, QueryKey[]> = {
  tenant: [["autonomy"], ["policy"], ["policies"]],
  user: [["users"]],
  "api-key": [["api-keys"]],
  connection: [["connections"], ["graph"]],
  feed: [["views"], ["quarantine"]],
  sync: [["syncs"], ["connections"]],
  "stream-schema": [["schemas"], ["drift"]],
  mapping: [["mappings"], ["graph"], ["views"], ["quarantine"], ["repairs-waiting"]],
  ontology: [["ontology"], ["views"]],
  identity: [["views"]],
  task: [["tasks"]],
  schedule: [["schedules"]],
  "llm-account": [["llm"]],
};

/** Keeps the cache true to the stream: gathers for half a second, then asks once per kind. */
export function followEvents(client: QueryClient): () => void {
  const stale = new Set<string>();
  let timer: ReturnType<typeof setTimeout> | null = null;
  const stop = live.onEvent((event) => {
    // Sessions come and go with every refresh; no list shows them.
    if (event.type.startsWith("Session")) return;
    for (const key of STALE[event.aggregate_type] ?? []) stale.add(JSON.stringify(key));
    if (typeof event.payload?.repair_id === "string")
      stale.add(JSON.stringify(["repairs", event.payload.repair_id]));
    if (timer !== null || stale.size === 0) return;
    timer = setTimeout(() => {
      timer = null;
      for (const key of stale)
        void client.invalidateQueries({ queryKey: JSON.parse(key) as QueryKey });
      stale.clear();
    }, 500);
  });
  return () => {
    stop();
    if (timer !== null) clearTimeout(timer);
  };
}
