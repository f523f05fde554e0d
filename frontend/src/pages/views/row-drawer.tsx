// One row whole: every field, where its value comes from, what is held, what is not mapped.

import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ChevronDown, CirclePause, GitMerge } from "lucide-react";
import { useState } from "react";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type { FieldLineage, OntologyEntity, ViewRow } from "@/api/types";
import { cell, dateTime, humanize, shortId } from "@/lib/format";
import { transformText } from "@/lib/transform";
import { cx } from "@/ui/cx";
import { Badge, CopyButton, SkeletonRows, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { Drawer } from "@/ui/overlay";
import { fieldsOf, rowTitle } from "./state";

interface Props {
  entity: string;
  definition: OntologyEntity | undefined;
  rowId: string | null;
  asOf: string | null;
  listed: ViewRow | undefined;
  onClose: () => void;
}

export function RowDrawer({ entity, definition, rowId, asOf, listed, onClose }: Props) {
  const id = rowId ?? "";
  const at = { as_of: asOf };
  const row = useQuery({
    queryKey: ["row", entity, id, at],
    queryFn: () => calls.dcl.row(entity, id, at),
    enabled: rowId !== null,
    placeholderData: listed,
  });
  const lineage = useQuery({
    queryKey: ["lineage", entity, id],
    queryFn: async () => (await calls.dcl.lineage(entity, id)).fields,
    // Lineage is of the present row; beside a past one it would be a lie.
    enabled: rowId !== null && !asOf,
  });
  const connections = useQuery(q.connections());
  const nameOf = (connectionId: string | null | undefined) =>
    connections.data?.find((connection) => connection.id === connectionId)?.name ??
    (connectionId ? shortId(connectionId) : "unknown source");
  return (
    <Drawer
      open={rowId !== null}
      onOpenChange={(open) => !open && onClose()}
      title={row.data ? rowTitle(row.data, []) : humanize(entity)}
      description={
        row.data?._updated_at ? (
          <>
            {humanize(entity)} · changed <Time at={row.data._updated_at} />
          </>
        ) : (
          humanize(entity)
        )
      }
    >
      {row.isError ? (
        <ErrorState error={row.error} retry={() => void row.refetch()} />
      ) : !row.data ? (
        <SkeletonRows />
      ) : (
        <div className="flex flex-col gap-6 p-5">
          <section aria-labelledby="row-fields">
            <h3 id="row-fields" className="mb-2 font-bold">
              Fields
            </h3>
            {asOf ? (
              <p className="mb-2 text-sm text-muted">
                As it was then; where values come from is told for the present row.
              </p>
            ) : null}
            {lineage.isError ? (
              <div className="-mx-4">
                <ErrorState
                  error={lineage.error}
                  title="The lineage could not be read"
                  retry={() => void lineage.refetch()}
                />
              </div>
            ) : null}
            <ul className="overflow-hidden rounded-xl border border-line">
              {fieldsOf(definition, [row.data])
                .filter((field) => cell(row.data[field]) !== "" || row.data._held?.includes(field))
                .map((field) => (
                  <FieldRow
                    key={field}
                    field={field}
                    row={row.data}
                    from={lineage.data?.filter((line) => line.field === field) ?? []}
                    nameOf={nameOf}
                  />
                ))}
            </ul>
          </section>
          {row.data._sources?.length ? (
            <section aria-labelledby="row-sources">
              <h3 id="row-sources" className="mb-2 flex items-center gap-2 font-bold">
                <GitMerge aria-hidden className="size-4 text-source" />
                {row.data._sources.length === 1
                  ? "From one source record"
                  : `Put together from ${row.data._sources.length} source records`}
              </h3>
              <ul className="flex flex-col gap-2">
                {row.data._sources.map((source) => (
                  <li
                    key={`${source.connection_id} ${source.stream} ${source.source_id}`}
                    className="flex flex-wrap items-center gap-x-3 rounded-xl bg-sunken px-3 py-2 text-sm"
                  >
                    <Link
                      to="/connections/$connectionId"
                      params={{ connectionId: source.connection_id }}
                      className="font-bold text-source underline-offset-4 hover:underline"
                    >
                      {nameOf(source.connection_id)}
                    </Link>
                    <span className="text-muted">{source.stream}</span>
                    <span className="data ml-auto break-all">{source.source_id}</span>
                  </li>
                ))}
              </ul>
            </section>
          ) : null}
          {row.data._extra && Object.keys(row.data._extra).length > 0 ? (
            <section aria-labelledby="row-extra">
              <h3 id="row-extra" className="mb-2 font-bold">
                Columns without a mapping
              </h3>
              <dl className="grid grid-cols-[minmax(0,2fr)_minmax(0,3fr)] gap-x-4 gap-y-1.5 rounded-xl border border-line p-3 text-sm">
                {Object.entries(row.data._extra).map(([name, value]) => (
                  <div key={name} className="contents">
                    <dt className="break-all text-muted">{name}</dt>
                    <dd className="data break-all">{cell(value) || "–"}</dd>
                  </div>
                ))}
              </dl>
            </section>
          ) : null}
          <p className="flex items-center gap-2 text-sm text-muted">
            <span className="data break-all">{row.data.id}</span>
            <CopyButton icon text={row.data.id} label="Copy the id" />
          </p>
        </div>
      )}
    </Drawer>
  );
}

const RULES: Record<string, string> = {
  only_source: "the only source that has it",
  latest: "the latest change",
  earliest: "the earliest time",
  priority: "the source's priority",
  tie_break: "a fixed order, as all else was equal",
};

function FieldRow({
  field,
  row,
  from,
  nameOf,
}: {
  field: string;
  row: ViewRow;
  from: FieldLineage[];
  nameOf: (id: string | null | undefined) => string;
}) {
  const [open, setOpen] = useState(false);
  const held = row._held?.includes(field);
  const source = from[0];
  return (
    <li className="border-t border-line first:border-t-0">
      <button
        type="button"
        disabled={!source}
        aria-expanded={source ? open : undefined}
        onClick={() => setOpen(!open)}
        className="grid min-h-11 w-full grid-cols-[minmax(0,2fr)_minmax(0,3fr)_auto] items-center gap-3 px-3 py-2 text-left text-sm -outline-offset-2 enabled:hover:bg-hover disabled:cursor-default"
      >
        <span className="text-muted">{humanize(field)}</span>
        <span className="font-semibold break-words">
          {cell(row[field]) || "–"}
          {held ? (
            <span className="ml-2 inline-flex align-middle">
              <Badge tone="warn" icon={CirclePause}>
                held
              </Badge>
            </span>
          ) : null}
        </span>
        {source ? (
          <ChevronDown
            aria-hidden
            className={cx("size-4 text-muted transition-transform", open && "rotate-180")}
          />
        ) : (
          <span />
        )}
      </button>
      {open
        ? from.map((line, index) => (
            <dl
              key={index}
              className="grid grid-cols-[6.5rem_minmax(0,1fr)] gap-x-3 gap-y-1 bg-sunken px-3 py-3 text-sm"
            >
              {(
                [
                  ["From", `${nameOf(line.connection_id)} · ${line.stream ?? ""}`],
                  ["Record", line.source_id],
                  ["Column", line.source_columns?.join(" + ")],
                  ["Read as", line.transform ? transformText(line.transform) : null],
                  ["Batch", line.batch],
                  ["Row", line.row],
                  ["Schema", line.schema_version && `version ${line.schema_version}`],
                  ["Mapping", line.mapping_version && `version ${line.mapping_version}`],
                  ["Chosen by", line.rule && (RULES[line.rule] ?? humanize(line.rule))],
                  ["Changed", line.changed_at && dateTime(new Date(line.changed_at))],
                  ...(line.others ?? []).map((other) => [
                    "Also",
                    `${cell(other.value) || "nothing"} in ${nameOf(other.connection_id)} · ${other.stream}`,
                  ]),
                ] as [string, string | number | null | undefined][]
              )
                .filter(([, value]) => value !== null && value !== undefined && value !== "")
                .map(([name, value], place) => (
                  <div key={place} className="contents">
                    <dt className="text-muted">{name}</dt>
                    <dd className="data break-all">{value}</dd>
                  </div>
                ))}
            </dl>
          ))
        : null}
    </li>
  );
}
