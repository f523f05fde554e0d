// What a view shows, as the URL has it.

import type { Query } from "@/api/client";
import type { OntologyEntity, ViewRow } from "@/api/types";
import type { Search } from "@/router";

export const SIZES = [25, 50, 100, 250];
const DEFAULT_SIZE = 50;
const DEFAULT_COLUMNS = 6;

/** How a field is compared, as the server takes it, and in words. */
export const OPERATORS = {
  eq: "is",
  contains: "contains",
  ne: "is not",
  gte: "is at least",
  lte: "is at most",
  is_null: "is empty",
} as const;
export type Operator = keyof typeof OPERATORS;

export interface Filter {
  field: string;
  operator: Operator;
  value: string;
}
/** The parameter that carries a filter: `filter[name]`, or `filter[name][contains]`. */
export const filterName = (field: string, operator: Operator) =>
  operator === "eq" ? `filter[${field}]` : `filter[${field}][${operator}]`;

export interface ViewState {
  q: string;
  sort: { field: string; descending: boolean } | null;
  filters: Filter[];
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
      const [, field, operator = "eq"] = /^filter\[(\w+)\](?:\[(\w+)\])?$/.exec(name) ?? [];
      return field && value && operator in OPERATORS
        ? [{ field, operator: operator as Operator, value }]
        : [];
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
    // Counting costs a scan; the plain view's count is known already.
    count: state.q || state.filters.length > 0 || state.asOf ? true : null,
    ...Object.fromEntries(
      state.filters.map(({ field, operator, value }) => [filterName(field, operator), value]),
    ),
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
