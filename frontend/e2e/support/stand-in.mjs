// A stand-in for the server, for looking at the screen without one: in memory, with made-up rows.
// Used while developing (`node e2e/support/stand-in.mjs`); never shipped, and no journey runs on it
// that the real server must pass.
import { randomUUID } from "node:crypto";
import { readFileSync, existsSync } from "node:fs";
import { createServer } from "node:http";
import { extname } from "node:path";

const dist = new URL("../../dist/", import.meta.url);
const now = Date.now();
const at = (secondsAgo) => new Date(now - secondsAgo * 1000).toISOString();
const tenant = { id: randomUUID(), name: "Northwind Instruments" };
const user = { id: randomUUID(), email: "demo@autonomos.local", role: "owner" };
const tokens = () => ({
  user,
  tenant,
  access_token: randomUUID(),
  refresh_token: randomUUID(),
  token_type: "Bearer",
  expires_in: 604800,
});

const fieldsOf = (names) => names.map(([name, type]) => ({ name, type, nullable: true }));
const SF = [
  ["Id", "text"],
  ["Name", "text"],
  ["Website", "text"],
  ["AnnualRevenue", "integer"],
  ["NumberOfEmployees", "integer"],
  ["Industry", "text"],
  ["Phone", "text"],
  ["CreatedDate", "timestamp"],
];
const connections = [
  ["Salesforce export", "healthy", ["accounts", "contacts", "opportunities"]],
  ["HubSpot export", "healthy", ["companies", "people", "deals"]],
  ["Dynamics export", "failing", ["firms"]],
].map(([name, status, streams], index) => ({
  id: randomUUID(),
  name,
  connector: "file",
  status,
  config: { path: `/data/demo/${name.split(" ")[0].toLowerCase()}` },
  message: status === "failing" ? "the folder `/data/demo/dynamics` is gone" : "7 files found",
  created_at: at(86400 * 3),
  updated_at: at(3600),
  last_tested_at: at(4000),
  last_synced_at: at(600 * (index + 1)),
  streams: streams.map((stream) => ({ name: stream })),
  names: streams,
}));
const discovered = (connection) =>
  connection.names.map((name) => ({
    name,
    fields: fieldsOf(SF),
    primary_key: ["Id"],
    cursor_fields: ["CreatedDate"],
    sync_modes: ["full", "incremental"],
    estimated_rows: 2140,
  }));
const syncs = connections.flatMap((connection, c) =>
  [0, 1, 2].map((n) => ({
    id: randomUUID(),
    connection_id: connection.id,
    task_id: randomUUID(),
    status: c === 2 && n === 0 ? "failed" : "succeeded",
    attempt: 1,
    requested_at: at(600 + n * 7200 + c * 60),
    started_at: at(599 + n * 7200 + c * 60),
    finished_at: at(590 + n * 7200 + c * 60),
    error:
      c === 2 && n === 0
        ? { code: "AOS-0203", message: "the folder `/data/demo/dynamics` does not exist" }
        : null,
    streams: connection.names.map((name) => ({
      name,
      status: "succeeded",
      rows_read: 2140 - n * 40,
      rows_canonical: 2131,
      rows_quarantined: n,
      rows_rejected: 0,
      batches: 3,
      bytes: 183000,
      total_rows: 2140,
      cursor: null,
      error: null,
    })),
  })),
);
const entityFields = {
  account: [
    ["name", "text"],
    ["website", "text"],
    ["domain", "text"],
    ["industry", "text"],
    ["annual_revenue", "decimal"],
    ["employee_count", "integer"],
    ["phone", "text"],
    ["created_at", "timestamp"],
    ["updated_at", "timestamp"],
    ["owner", "text"],
  ],
  contact: [
    ["first_name", "text"],
    ["last_name", "text"],
    ["email", "text"],
    ["phone", "text"],
    ["title", "text"],
    ["account", "text"],
  ],
  opportunity: [
    ["name", "text"],
    ["account", "text"],
    ["amount", "decimal"],
    ["currency", "text"],
    ["stage", "text"],
    ["close_date", "date"],
  ],
};
const plural = { account: "accounts", contact: "contacts", opportunity: "opportunities" };
const ontology = {
  version: 1,
  entities: Object.entries(entityFields).map(([name, fields]) => ({
    name,
    plural: plural[name],
    description: {
      account: "A company you sell to, or might",
      contact: "A person at an account",
      opportunity: "A deal in the making",
    }[name],
    synonyms: [],
    fields: fields.map(([field, type]) => ({
      name: field,
      type,
      semantic: "plain",
      description: "",
      synonyms: [],
      protected: false,
    })),
    match_rules: [],
  })),
};
const A = ["Bright", "North", "Silver", "Green", "Iron", "Blue", "Maple", "Stone", "Clear", "Red"];
const B = ["field", "river", "gate", "light", "works", "harbor", "peak", "wood", "bridge", "point"];
const C = ["Systems", "Foods", "Logistics", "Energy", "Labs", "Partners", "Motors", "Textiles"];
const rows = { account: [], contact: [], opportunity: [] };
for (let n = 0; n < 640; n += 1) {
  const name = `${A[n % 10]}${B[Math.floor(n / 10) % 10]} ${C[n % 8]}`;
  const sources = connections.slice(0, 1 + (n % 3)).map((connection) => ({
    connection_id: connection.id,
    stream: connection.names[0],
    source_id: `001${String(n).padStart(12, "0")}`,
  }));
  rows.account.push({
    id: randomUUID(),
    name,
    website: `https://www.${name.split(" ")[0].toLowerCase()}.example`,
    domain: `${name.split(" ")[0].toLowerCase()}.example`,
    industry: ["Energy", "Retail", "Software", null][n % 4],
    annual_revenue: ((n * 7919) % 900000) + 10000.5,
    employee_count: (n * 37) % 4000,
    phone: "+1 555 0100",
    created_at: at(86400 * n),
    updated_at: at(3600 * n),
    owner: null,
    _sources: sources,
    _updated_at: at(60 * n),
    _held: n % 9 === 0 ? ["annual_revenue"] : [],
    _extra: { Rating: "Hot", Fax: null },
  });
}
for (let n = 0; n < 410; n += 1)
  rows.contact.push({
    id: randomUUID(),
    first_name: ["Ada", "Grace", "Alan", "Edsger"][n % 4],
    last_name: ["Hill", "Stone", "Meyer"][n % 3],
    email: `p${n}@example.com`,
    phone: null,
    title: "Buyer",
    account: rows.account[n].name,
    _sources: [{ connection_id: connections[0].id, stream: "contacts", source_id: `c${n}` }],
    _updated_at: at(90 * n),
    _held: [],
    _extra: {},
  });
for (let n = 0; n < 250; n += 1)
  rows.opportunity.push({
    id: randomUUID(),
    name: `${rows.account[n].name} renewal`,
    account: rows.account[n].name,
    amount: n * 1000,
    currency: "USD",
    stage: "Closed won",
    close_date: "2026-03-01",
    _sources: [{ connection_id: connections[1].id, stream: "deals", source_id: `d${n}` }],
    _updated_at: at(70 * n),
    _held: [],
    _extra: {},
  });

const mappings = connections.flatMap((connection) =>
  connection.names.slice(0, 1).map((stream) => ({
    id: randomUUID(),
    connection_id: connection.id,
    stream,
    entity: "account",
    version: 2,
    key: ["Id"],
    origin: "matcher",
    fields: [
      ["Name", "name"],
      ["Website", "website"],
      ["AnnualRevenue", "annual_revenue"],
      ["NumberOfEmployees", "employee_count"],
    ].map(([source, target], index) => ({
      source,
      target,
      transform: index === 2 ? { op: "scale", factor: "0.01" } : { op: "copy" },
      confidence: 0.99 - index * 0.05,
      origin: index === 3 ? "human" : "matcher",
      evidence: [{ signal: "name", score: 0.9, detail: "the names are the same word" }],
    })),
  })),
);
const drift = [],
  repairs = [];
for (const [index, [kind, field, to, p, status]] of [
  ["field_renamed", "AnnualRevenue", "Annual_Revenue__c", 0.94, "pending_review"],
  ["unit_changed", "AnnualRevenue", "AnnualRevenue", 0.81, "pending_review"],
  ["field_renamed", "Phone", "Phone_Number", 0.997, "auto_applied"],
  ["field_removed", "Fax", null, 0.4, "held"],
].entries()) {
  const connection = connections[index % 3];
  const id = randomUUID();
  const before = {
    fields: [{ name: field, type: "integer", nullable: true }],
    samples: ["120000", "98000", "450000"],
    summary: "integer, 12 to 980,000",
  };
  const after = to
    ? {
        fields: [{ name: to, type: "integer", nullable: true }],
        samples: ["12000000", "9800000", "45000000"],
        summary: "integer, 1,200 to 98,000,000",
      }
    : null;
  const finding = {
    id,
    connection_id: connection.id,
    stream: connection.names[0],
    kind,
    field,
    before,
    after,
    severity: ["critical", "warning", "info"][index % 3],
    confidence: p,
    evidence: [
      {
        signal: "values",
        score: p,
        detail: "of 512 records in both editions, 510 have the same value",
      },
    ],
    status: status === "auto_applied" ? "repaired" : "open",
    detected_at: at(900 * (index + 1)),
  };
  drift.push(finding);
  const changes = to
    ? [
        {
          drift_id: id,
          old_source: field,
          new_sources: [to],
          adapt: kind === "unit_changed" ? { op: "scale", factor: "0.01" } : null,
          probability: p,
          evidence: [
            { signal: "name", score: 0.72, detail: "`annual revenue` against `annual revenue c`" },
            { signal: "values", score: 0.98, detail: "510 of 512 values are the same" },
            { signal: "type", score: 1, detail: "both integer" },
          ],
          overlap: { result: "agrees", compared: 512, disagreeing: 2 },
        },
      ]
    : [];
  repairs.push({
    id: randomUUID(),
    connection_id: connection.id,
    stream: connection.names[0],
    entity: "account",
    drift_id: id,
    drift_ids: [id],
    status,
    confidence: p,
    proposal: { changes, mapping: mappings[0] },
    drifts: [finding],
    created_at: at(900 * (index + 1)),
    decided_at: status === "auto_applied" ? at(800) : null,
    decided_by: null,
  });
}
const tasks = syncs.map((sync) => ({
  id: sync.task_id,
  action: "sync",
  status: sync.status,
  attempt: 1,
  max_retries: 3,
  payload: {},
  progress: { done: 2140, total: 2140, note: "" },
  created_at: sync.requested_at,
  started_at: sync.started_at,
  finished_at: sync.finished_at,
  error: sync.error,
}));
const uploads = [],
  users = [user, { id: randomUUID(), email: "lin@northwind.example", role: "editor" }],
  keys = [
    {
      id: randomUUID(),
      name: "Nightly export",
      prefix: "aos_8f3k",
      role: "viewer",
      created_at: at(90000),
    },
  ];
let mode = "auto",
  policy = { automatic_from: 0.99, ask_from: 0.6 };
const projections = ["read_models", "dcl"].map((name) => ({
  name,
  version: 3,
  generation: 1,
  position: "b7Qk2",
  lag: 0,
  status: "live",
  poisoned: [],
}));
const graph = () => ({
  nodes: [
    ...connections.map((c) => ({ id: `source:${c.id}`, kind: "source", label: c.name })),
    ...connections.flatMap((c) =>
      c.names.map((s) => ({ id: `stream:${c.id}:${s}`, kind: "stream", label: s })),
    ),
    ...Object.keys(rows).map((e) => ({ id: `entity:${e}`, kind: "entity", label: e })),
  ],
  edges: connections.flatMap((c) =>
    c.names.flatMap((s, i) => [
      { from: `source:${c.id}`, to: `stream:${c.id}:${s}`, kind: "reads" },
      {
        from: `stream:${c.id}:${s}`,
        to: `entity:${Object.keys(rows)[i % 3]}`,
        kind: "maps",
        fields: 7,
        confidence: 0.96,
      },
    ]),
  ),
});

const listeners = new Set();
const log = [];
let version = 0;
function event(type, aggregate_type, aggregate_id, payload) {
  const entry = {
    position: `p${String(log.length + 1).padStart(6, "0")}`,
    type,
    schema_version: 1,
    aggregate_type,
    aggregate_id,
    version: ++version,
    recorded_at: new Date().toISOString(),
    actor: { kind: "user", id: user.id },
    correlation_id: randomUUID(),
    causation_id: null,
    payload,
  };
  log.unshift(entry);
  for (const response of listeners)
    response.write(`id: ${entry.position}\nevent: ${type}\ndata: ${JSON.stringify(entry)}\n\n`);
}
event("TenantRegistered", "tenant", tenant.id, { name: tenant.name });
for (const connection of connections)
  event("ConnectionCreated", "connection", connection.id, {
    name: connection.name,
    connector: "file",
  });
for (const finding of drift) event("DriftDetected", "stream-schema", randomUUID(), { finding });

function runSync(connection) {
  const sync = {
    id: randomUUID(),
    connection_id: connection.id,
    task_id: randomUUID(),
    status: "running",
    attempt: 1,
    requested_at: new Date().toISOString(),
    started_at: new Date().toISOString(),
    finished_at: null,
    error: null,
    streams: connection.names.map((name) => ({
      name,
      status: "running",
      rows_read: 0,
      bytes: 0,
      total_rows: 20000,
    })),
  };
  syncs.unshift(sync);
  event("SyncStarted", "sync", sync.id, { attempt: 1, streams: connection.names });
  let step = 0;
  const timer = setInterval(() => {
    step += 1;
    for (const stream of sync.streams) {
      stream.rows_read = step * 2000;
      stream.bytes = step * 90000;
      event("StreamSyncProgressed", "sync", sync.id, {
        stream: stream.name,
        progress: {
          rows_read: stream.rows_read,
          bytes: stream.bytes,
          batches: step,
          rows_rejected: 0,
        },
        total_rows: 20000,
      });
      event("RecordsIngested", "feed", randomUUID(), {
        batch: { rows: 2000 },
        state: { connection_id: connection.id, stream: stream.name },
      });
    }
    if (step < 10) return;
    clearInterval(timer);
    sync.status = "succeeded";
    sync.finished_at = new Date().toISOString();
    for (const stream of sync.streams)
      Object.assign(stream, { status: "succeeded", rows_canonical: 20000, rows_quarantined: 3 });
    event("SyncSucceeded", "sync", sync.id, {});
  }, 400);
  return sync;
}

const page = (data, query) => {
  const limit = Number(query.get("limit") ?? 100),
    from = Number(query.get("cursor") ?? 0);
  return {
    data: data.slice(from, from + limit),
    meta: { next_cursor: from + limit < data.length ? String(from + limit) : null, position: "p1" },
  };
};
const find = (list, id) =>
  list.find((one) => one.id === id) ?? fail(404, "There is nothing with this id");
class Problem extends Error {}
function fail(status, detail, errors = []) {
  throw Object.assign(new Problem(detail), { status, errors });
}
function listRows(entity, query) {
  const name =
    Object.keys(plural).find((key) => key === entity || plural[key] === entity) ??
    fail(404, `no view \`${entity}\``);
  let list = rows[name];
  const q = query.get("q")?.toLowerCase();
  if (q)
    list = list.filter((row) =>
      JSON.stringify(Object.values(row).filter((value) => typeof value === "string"))
        .toLowerCase()
        .includes(q),
    );
  for (const [key, value] of query) {
    const field = /^filter\[(\w+)\]$/.exec(key)?.[1];
    if (field) list = list.filter((row) => String(row[field]) === value);
  }
  const sort = query.get("sort");
  if (sort) {
    const field = sort.replace(/^-/, ""),
      sign = sort.startsWith("-") ? -1 : 1;
    list = [...list].sort((left, right) =>
      left[field] === right[field] ? 0 : (left[field] ?? "") < (right[field] ?? "") ? -sign : sign,
    );
  }
  return list;
}
function decide(id, status) {
  const repair = find(repairs, id);
  Object.assign(repair, { status, decided_at: new Date().toISOString(), decided_by: user.id });
  event(
    status === "approved"
      ? "RepairApproved"
      : status === "rejected"
        ? "RepairRejected"
        : "RepairRolledBack",
    "mapping",
    randomUUID(),
    { repair_id: id, by: user.id },
  );
  return repair;
}

const routes = [
  [
    "POST",
    /^auth\/register$/,
    (_, __, body) =>
      body.password.length < 8
        ? fail(422, "the password is weak", [
            { pointer: "/password", message: "use at least 12 characters" },
          ])
        : [201, tokens()],
  ],
  [
    "POST",
    /^auth\/login$/,
    (_, __, body) =>
      body.password === "wrong" ? fail(401, "E-mail or password is wrong") : tokens(),
  ],
  ["POST", /^auth\/refresh$/, () => tokens()],
  ["POST", /^auth\/logout$/, () => [204]],
  ["GET", /^auth\/me$/, () => ({ user, tenant })],
  ["GET", /^users$/, (_, query) => page(users, query)],
  ["GET", /^api-keys$/, (_, query) => page(keys, query)],
  [
    "POST",
    /^api-keys$/,
    (_, __, body) => [201, { ...keys[0], ...body, id: randomUUID(), key: `aos_${randomUUID()}` }],
  ],
  [
    "GET",
    /^aam\/connectors$/,
    () => ({
      data: [
        {
          id: "file",
          name: "Files",
          description: "CSV, Excel, JSON, Parquet",
          capabilities: [],
          config_schema: {
            type: "object",
            required: ["path"],
            properties: {
              path: {
                type: "string",
                title: "File",
                description: "A file, a folder or a glob inside a configured root.",
                order: 0,
              },
              format: {
                type: "string",
                title: "Format",
                enum: ["csv", "tsv", "json", "parquet", "excel"],
                order: 1,
              },
              delimiter: { type: "string", title: "Delimiter", maxLength: 1, order: 2 },
              encoding: { type: "string", title: "Encoding", order: 3 },
              header: {
                type: "boolean",
                title: "First row holds the names",
                default: true,
                order: 4,
              },
            },
          },
        },
      ],
    }),
  ],
  ["GET", /^aam\/connections$/, (_, query) => page(connections, query)],
  [
    "POST",
    /^aam\/connections$/,
    (_, __, body) => {
      if (connections.some((one) => one.name === body.name))
        fail(409, "A connection with this name exists", [
          { pointer: "/name", message: "is taken" },
        ]);
      const upload = uploads.find((one) => one.id === body.config.path);
      const connection = {
        id: randomUUID(),
        status: "draft",
        created_at: new Date().toISOString(),
        streams: [],
        names: [upload?.file_name.replace(/\..*$/, "") ?? "stream"],
        ...body,
      };
      connections.push(connection);
      event("ConnectionCreated", "connection", connection.id, {
        name: body.name,
        connector: body.connector,
      });
      return [201, connection];
    },
  ],
  ["GET", /^aam\/connections\/([^/]+)$/, ([id]) => find(connections, id)],
  [
    "PATCH",
    /^aam\/connections\/([^/]+)$/,
    ([id], _, body) => Object.assign(find(connections, id), body),
  ],
  [
    "DELETE",
    /^aam\/connections\/([^/]+)$/,
    ([id]) => (connections.splice(connections.indexOf(find(connections, id)), 1), [204]),
  ],
  [
    "POST",
    /^aam\/connections\/([^/]+)\/test$/,
    ([id]) => ({
      ok: (find(connections, id).status = "healthy") === "healthy",
      latency_ms: 14,
      message: "One file can be read.",
      steps: [
        { name: "path_allowed", passed: true, message: "The upload is yours" },
        { name: "readable", passed: true, message: "Read 4 kB" },
        { name: "format_detected", passed: true, message: "CSV, comma, UTF-8" },
      ],
    }),
  ],
  [
    "POST",
    /^aam\/connections\/([^/]+)\/discover$/,
    ([id]) => ({ streams: discovered(find(connections, id)) }),
  ],
  [
    "PUT",
    /^aam\/connections\/([^/]+)\/streams$/,
    ([id], _, body) => Object.assign(find(connections, id), { streams: body.streams }),
  ],
  [
    "POST",
    /^aam\/connections\/([^/]+)\/syncs$/,
    ([id]) => {
      const sync = runSync(find(connections, id));
      return [202, { task_id: sync.task_id, sync_id: sync.id }];
    },
  ],
  [
    "GET",
    /^aam\/connections\/([^/]+)\/schemas$/,
    ([id], query) =>
      page(
        find(connections, id).names.flatMap((stream) =>
          [2, 1].map((v) => ({
            stream,
            version: v,
            fingerprint: "9f2c1e".repeat(10),
            fields: fieldsOf(
              v === 1 ? SF : [...SF.filter(([name]) => name !== "Phone"), ["Phone_Number", "text"]],
            ),
            primary_key: ["Id"],
            first_seen_at: at(v === 1 ? 90000 : 900),
          })),
        ),
        query,
      ),
  ],
  [
    "GET",
    /^aam\/syncs$/,
    (_, query) =>
      page(
        syncs.filter(
          (sync) =>
            !query.get("connection_id") || sync.connection_id === query.get("connection_id"),
        ),
        query,
      ),
  ],
  ["GET", /^aam\/syncs\/([^/]+)$/, ([id]) => find(syncs, id)],
  [
    "GET",
    /^aam\/drift$/,
    (_, query) =>
      page(
        drift.filter(
          (one) =>
            (!query.get("connection_id") || one.connection_id === query.get("connection_id")) &&
            (!query.get("status") || one.status === query.get("status")),
        ),
        query,
      ),
  ],
  [
    "GET",
    /^aam\/mappings$/,
    (_, query) =>
      page(
        mappings.filter(
          (one) => !query.get("connection_id") || one.connection_id === query.get("connection_id"),
        ),
        query,
      ),
  ],
  [
    "PUT",
    /^aam\/mappings\/([^/]+)$/,
    ([id], _, body) =>
      Object.assign(find(mappings, id), body, { version: find(mappings, id).version + 1 }),
  ],
  [
    "GET",
    /^aam\/repairs$/,
    (_, query) =>
      page(
        repairs.filter((one) => !query.get("status") || one.status === query.get("status")),
        query,
      ),
  ],
  ["GET", /^aam\/repairs\/([^/]+)$/, ([id]) => find(repairs, id)],
  ["POST", /^aam\/repairs\/([^/]+)\/approve$/, ([id]) => decide(id, "approved")],
  ["POST", /^aam\/repairs\/([^/]+)\/reject$/, ([id]) => decide(id, "rejected")],
  ["POST", /^aam\/repairs\/([^/]+)\/rollback$/, ([id]) => decide(id, "rolled_back")],
  ["GET", /^aam\/policy$/, () => policy],
  ["PUT", /^aam\/policy$/, (_, __, body) => (policy = body)],
  ["GET", /^aoa\/autonomy$/, () => ({ mode })],
  ["PUT", /^aoa\/autonomy$/, (_, __, body) => ({ mode: (mode = body.mode) })],
  ["GET", /^uploads$/, (_, query) => page(uploads, query)],
  ["GET", /^dcl\/ontology$/, () => ontology],
  [
    "GET",
    /^dcl\/views$/,
    (_, query) =>
      page(
        Object.keys(rows).map((entity) => ({
          entity,
          plural: plural[entity],
          rows: rows[entity].length,
        })),
        query,
      ),
  ],
  [
    "GET",
    /^dcl\/views\/([^/]+)\/export$/,
    ([entity], query) => ({
      raw: listRows(entity, query)
        .map((row) => JSON.stringify(row))
        .join("\n"),
    }),
  ],
  ["GET", /^dcl\/views\/([^/]+)$/, ([entity], query) => page(listRows(entity, query), query)],
  [
    "GET",
    /^dcl\/views\/([^/]+)\/([^/]+)$/,
    ([entity, id], query) => find(listRows(entity, query), id),
  ],
  [
    "GET",
    /^dcl\/views\/([^/]+)\/([^/]+)\/lineage$/,
    ([entity, id]) => {
      const row = find(listRows(entity, new URLSearchParams()), id);
      return {
        fields: Object.keys(row)
          .filter((field) => field !== "id" && !field.startsWith("_"))
          .map((field) => ({
            field,
            value: row[field],
            ...row._sources[0],
            column: field,
            batch: 1,
            row: 17,
            mapping_version: 2,
            schema_version: 1,
            rule: "latest_change",
          })),
      };
    },
  ],
  [
    "GET",
    /^aam\/quarantine$/,
    (_, query) =>
      page(
        [1, 2, 3].map((n) => ({
          entity: "account",
          connection_id: connections[0].id,
          stream: "accounts",
          record_id: randomUUID(),
          row: n,
          field: n === 3 ? null : "annual_revenue",
          source_column: "AnnualRevenue",
          value: `about ${n} million`,
          code: "AOS-0421",
          reason: "this is not a number",
          since: at(900),
          position: "p1",
        })),
        query,
      ),
  ],
  ["GET", /^dcl\/graph$/, () => graph()],
  [
    "GET",
    /^tasks$/,
    (_, query) =>
      page(
        tasks.filter((one) => !query.get("status") || one.status === query.get("status")),
        query,
      ),
  ],
  ["GET", /^tasks\/([^/]+)$/, ([id]) => find(tasks, id)],
  [
    "GET",
    /^tasks\/([^/]+)\/log$/,
    (_, query) =>
      page(
        [
          { at: at(600), event: "TaskStarted", detail: { worker: "1" } },
          { at: at(590), event: "TaskSucceeded", detail: {} },
        ],
        query,
      ),
  ],
  [
    "GET",
    /^history$/,
    (_, query) =>
      page(
        log.filter(
          (one) =>
            (!query.get("aggregate_type") || one.aggregate_type === query.get("aggregate_type")) &&
            (!query.get("aggregate_id") || one.aggregate_id === query.get("aggregate_id")),
        ),
        query,
      ),
  ],
  ["GET", /^history\/verify$/, () => ({ ok: true, commits_checked: log.length, broken: [] })],
  ["GET", /^ops\/projections$/, (_, query) => page(projections, query)],
  ["POST", /^ops\/projections\/([^/]+)\/rebuild$/, () => [202, {}]],
  ["POST", /^events\/ticket$/, () => [201, { ticket: randomUUID(), expires_in: 60 }]],
];
const TYPES = {
  ".js": "text/javascript",
  ".css": "text/css",
  ".svg": "image/svg+xml",
  ".woff2": "font/woff2",
  ".html": "text/html",
};

const server = createServer(async (request, response) => {
  const url = new URL(request.url, "http://stand-in");
  if (!url.pathname.startsWith("/api/")) {
    const path = url.pathname.slice(1);
    const file = path && existsSync(new URL(path, dist)) ? path : "index.html";
    response.writeHead(200, { "content-type": TYPES[extname(file)] ?? "application/octet-stream" });
    return response.end(readFileSync(new URL(file, dist)));
  }
  const path = url.pathname.replace("/api/v1/", "");
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    if (!path.startsWith("auth/") && path !== "events/stream" && !request.headers.authorization)
      fail(401, "Sign in first");
    if (path === "events/stream") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write(": hello\n\n");
      listeners.add(response);
      return request.on("close", () => listeners.delete(response));
    }
    if (path === "uploads" && request.method === "POST") {
      const upload = {
        id: randomUUID(),
        file_name: url.searchParams.get("filename"),
        bytes: Buffer.concat(chunks).length,
        content_hash: "00",
        uploaded_at: new Date().toISOString(),
      };
      uploads.unshift(upload);
      response.writeHead(201, { "content-type": "application/json", "x-position": "p1" });
      return response.end(JSON.stringify(upload));
    }
    const body = chunks.length ? JSON.parse(Buffer.concat(chunks).toString()) : {};
    for (const [method, pattern, answer] of routes) {
      const match = method === request.method && pattern.exec(path);
      if (!match) continue;
      const result = answer(match.slice(1).map(decodeURIComponent), url.searchParams, body);
      const [status, content] = Array.isArray(result) ? result : [200, result];
      response.writeHead(status, { "content-type": "application/json" });
      return response.end(content?.raw ?? (content === undefined ? "" : JSON.stringify(content)));
    }
    fail(404, `no such path: ${request.method} ${path}`);
  } catch (error) {
    response.writeHead(error.status ?? 500, { "content-type": "application/problem+json" });
    response.end(
      JSON.stringify({
        title: "The call was refused",
        status: error.status ?? 500,
        detail: error.message,
        code: "AOS-0500",
        trace_id: randomUUID(),
        errors: error.errors ?? [],
      }),
    );
  }
});
server.listen(Number(process.env.PORT ?? 4179), "127.0.0.1", () =>
  console.log(`http://127.0.0.1:${server.address().port}`),
);
