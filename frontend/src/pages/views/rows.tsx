import { Link } from "@tanstack/react-router";
import { CirclePause, type LucideIcon } from "lucide-react";
import type { OntologyEntity, ViewRow } from "@/api/types";
import { cell, humanize } from "@/lib/format";
import { cx } from "@/ui/cx";
import { Badge, Time } from "@/ui/display";
import { TableFrame, TD, TH } from "@/ui/page";
import { rowTitle, type ViewState } from "./state";

const NUMERIC = new Set(["integer", "decimal"]);
const DATA = new Set(["integer", "decimal", "date", "timestamp"]);

/** A value that waits for a repair shows the last good one, and says so. */
export function Value({ row, field }: { row: ViewRow; field: string }) {
  const held = row._held?.includes(field);
  const text = cell(row[field]);
  return (
    <>
      {text === "" ? <span className="text-muted">–</span> : text}
      {held ? (
        <span
          title="Held: waits for a repair, this is the last good value"
          className="ml-1.5 inline-flex align-[-2px] text-warn"
        >
          <CirclePause aria-hidden className="size-4" />
          <span className="sr-only">(held)</span>
        </span>
      ) : null}
    </>
  );
}

function Sources({ row }: { row: ViewRow }) {
  const sources = new Set(row._sources?.map((source) => source.connection_id)).size;
  return sources > 0 ? (
    <Badge tone="source">{sources === 1 ? "1 source" : `${sources} sources`}</Badge>
  ) : null;
}

interface Shared {
  rows: ViewRow[];
  columns: string[];
  definition: OntologyEntity | undefined;
  entity: string;
}

export function RowTable({
  rows,
  columns,
  definition,
  entity,
  sort,
  openRow,
  onSort,
  icons,
}: Shared & {
  sort: ViewState["sort"];
  openRow: string | null;
  onSort: (sort: string | undefined) => void;
  icons: { ascending: LucideIcon; descending: LucideIcon };
}) {
  const typeOf = (field: string) =>
    definition?.fields.find((one) => one.name === field)?.type ?? "text";
  return (
    <TableFrame label={`Table of ${entity} rows`} className="rounded-2xl">
      <thead>
        <tr>
          {columns.map((field) => {
            const sorted =
              sort?.field === field ? (sort.descending ? "descending" : "ascending") : undefined;
            const Icon = sorted ? icons[sorted] : null;
            return (
              <th
                key={field}
                scope="col"
                aria-sort={sorted}
                className={cx(TH, "!py-1", NUMERIC.has(typeOf(field)) && "text-right")}
              >
                <button
                  type="button"
                  onClick={() =>
                    onSort(
                      sorted === "ascending"
                        ? `-${field}`
                        : sorted === "descending"
                          ? undefined
                          : field,
                    )
                  }
                  className={cx(
                    "inline-flex min-h-9 items-center gap-1 rounded-lg px-1.5 -mx-1.5 font-bold hover:bg-hover hover:text-ink",
                    sorted && "text-accent-strong",
                  )}
                >
                  {humanize(field)}
                  {Icon ? <Icon aria-hidden className="size-3.5" /> : null}
                </button>
              </th>
            );
          })}
          <th scope="col" className={TH}>
            Sources
          </th>
          <th scope="col" className={TH}>
            Changed
          </th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr
            key={row.id}
            className={cx("group relative hover:bg-hover", openRow === row.id && "bg-accent-soft")}
          >
            {columns.map((field, index) => {
              const type = typeOf(field);
              return (
                <td
                  key={field}
                  className={cx(
                    TD,
                    "max-w-56 truncate !py-2.5",
                    DATA.has(type) && "data",
                    NUMERIC.has(type) && "text-right",
                  )}
                  title={cell(row[field])}
                >
                  {index === 0 ? (
                    <RowLink
                      row={row}
                      columns={columns}
                      entity={entity}
                      className="font-bold after:absolute after:inset-0"
                    >
                      <Value row={row} field={field} />
                    </RowLink>
                  ) : (
                    <Value row={row} field={field} />
                  )}
                </td>
              );
            })}
            <td className={cx(TD, "data !py-2 text-source")}>
              {new Set(row._sources?.map((source) => source.connection_id)).size || "–"}
            </td>
            <td className={cx(TD, "!py-2 text-muted")}>
              <Time at={row._updated_at} />
            </td>
          </tr>
        ))}
      </tbody>
    </TableFrame>
  );
}

export function RowCards({ rows, columns, entity }: Shared) {
  return (
    <ul className="flex flex-col gap-3">
      {rows.map((row) => {
        const title = rowTitle(row, columns);
        const shown = columns
          .filter((field) => cell(row[field]) !== "" && String(row[field]) !== title)
          .slice(0, 4);
        return (
          <li
            key={row.id}
            className="relative rounded-2xl border border-line bg-surface p-4 shadow-card"
          >
            <div className="flex items-start justify-between gap-3">
              <RowLink
                row={row}
                columns={columns}
                entity={entity}
                className="min-w-0 text-base font-bold break-words after:absolute after:inset-0 after:rounded-2xl"
              >
                {title}
              </RowLink>
              <Sources row={row} />
            </div>
            <dl className="mt-2 grid grid-cols-[minmax(0,2fr)_minmax(0,3fr)] gap-x-3 gap-y-1 text-sm">
              {shown.map((field) => (
                <div key={field} className="contents">
                  <dt className="truncate text-muted">{humanize(field)}</dt>
                  <dd className="min-w-0 truncate">
                    <Value row={row} field={field} />
                  </dd>
                </div>
              ))}
            </dl>
          </li>
        );
      })}
    </ul>
  );
}

function RowLink({
  row,
  columns,
  entity,
  className,
  children,
}: {
  row: ViewRow;
  columns: string[];
  entity: string;
  className?: string;
  children: React.ReactNode;
}) {
  return (
    <Link
      to="/views/$entity"
      params={{ entity }}
      search={(before) => ({ ...before, row: row.id })}
      resetScroll={false}
      data-row-link
      aria-label={`Open ${rowTitle(row, columns)}`}
      className={className}
    >
      {children}
    </Link>
  );
}
