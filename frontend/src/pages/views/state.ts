// What a view shows, as the URL has it.

import type { Query } from "@/api/client";
import type { OntologyEntity, ViewRow } from "@/api/types";
import type { Search } from "@/router";

export const SIZES = [25, 50, 100, 250];
const DEFAULT_SIZE = 50;
const DEFAULT_COLUMNS = 6;

export interface ViewState {
  q: string;
  sort: { field: string; descending: boolean } | null;
  filters: [string, string][];
  asOf: string | null;
  size: number;
  page: number;
  cursor: string | null;
  row: string | null;
  columns: string[] | null;
}

export function readState(search: Search): ViewState {
  const size = Number(search.size);
  return {
    q: search.q ?? "",
    sort: search.sort
      ? { field: search.sort.replace(/^-/, ""), descending: search.sort.startsWith("-") }
      : null,
    filters: Object.entries(search).flatMap(([name, value]) => {
      const field = /^filter\[(\w+)\]$/.exec(name)?.[1];
      return field && value ? [[field, value] as [string, string]] : [];
    }),
    asOf: search.as_of ?? null,
    size: SIZES.includes(size) ? size : DEFAULT_SIZE,
    page: Math.max(1, Number(search.page) || 1),
    cursor: search.cursor ?? null,
    row: search.row ?? null,
    columns: search.columns ? search.columns.split(",").filter(Boolean) : null,
  };
}

/** The query of the rows themselves: what the server filters, sorts and pages. */
export function rowsQuery(state: ViewState): Query {
  return {
    limit: state.size,
    cursor: state.cursor,
    q: state.q,
    sort: state.sort ? `${state.sort.descending ? "-" : ""}${state.sort.field}` : null,
    as_of: state.asOf,
    ...Object.fromEntries(state.filters.map(([field, value]) => [`filter[${field}]`, value])),
  };
}

/** All fields a view can show: the ontology's, then whatever else the rows carry. */
export function fieldsOf(entity: OntologyEntity | undefined, rows: ViewRow[]): string[] {
  const names = new Set(entity?.fields.map((field) => field.name) ?? []);
  for (const row of rows) {
    for (const name of Object.keys(row))
      if (name !== "id" && !name.startsWith("_")) names.add(name);
  }
  return [...names];
}

/** Unless chosen: the first fields that hold anything on this page, in the ontology's order. */
export function columnsOf(state: ViewState, fields: string[], rows: ViewRow[]): string[] {
  if (state.columns) return state.columns.filter((name) => fields.includes(name));
  const filled = fields.filter((name) =>
    rows.some((row) => row[name] !== null && row[name] !== undefined),
  );
  return (filled.length > 0 ? filled : fields).slice(0, DEFAULT_COLUMNS);
}

const TITLES = ["name", "full_name", "title", "number", "email", "domain"];

/** What a person would call the row. */
export function rowTitle(row: ViewRow, columns: string[]): string {
  const people = [row.first_name, row.last_name]
    .filter((part) => typeof part === "string")
    .join(" ");
  for (const name of [...TITLES, ...columns]) {
    if (name === "title" && people) continue;
    const value = row[name];
    if (value !== null && value !== undefined && value !== "") return String(value);
  }
  return people || row.id.slice(0, 8);
}
