// What a decision would change, before it is made: counts by field, and cells before and after.

import { useMutation } from "@tanstack/react-query";
import { FlaskConical } from "lucide-react";
import { useState } from "react";
import * as calls from "@/api/calls";
import type { DryRun as Changes, DryRunCells, DryRunExample, MappingContent } from "@/api/types";
import { count, humanize, many } from "@/lib/format";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { ErrorState } from "@/ui/error";
import { Select } from "@/ui/form";
import { TableFrame, TD, TH } from "@/ui/page";

const KINDS: Record<DryRunExample["kind"], string> = {
  changed: "changes",
  filled: "appears",
  emptied: "goes",
  quarantined: "would wait",
};
const COUNTS: [keyof DryRunCells, string][] = [
  ["changed", "Changed"],
  ["filled", "Filled"],
  ["emptied", "Emptied"],
  ["quarantined", "Would wait"],
  ["released", "Released"],
];

export function DryRun({
  repairId,
  undo,
  mapping,
  driftIds,
}: {
  repairId: string;
  /** The repair is applied: what taking it back would do. */
  undo: boolean;
  mapping?: MappingContent;
  /** The changes that are to be approved, by their drifts; none: all. */
  driftIds?: string[];
}) {
  const [field, setField] = useState("");
  const run = useMutation({
    mutationFn: (wanted: string) =>
      calls.repairs.dryRun(repairId, { mapping, drift_ids: driftIds, field: wanted || undefined }),
  });
  const start = (wanted: string) => {
    setField(wanted);
    run.mutate(wanted);
  };
  return (
    <section aria-label="Dry run" className="rounded-2xl border border-line p-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <div>
          <h3 className="font-bold">Dry run</h3>
          <p className="text-sm text-muted">
            {undo
              ? "What rolling this repair back would change. Nothing is written."
              : driftIds
                ? "What approving the chosen changes would change. Nothing is written."
                : "What approving this repair would change. Nothing is written."}
          </p>
        </div>
        <Button busy={run.isPending} onClick={() => start("")}>
          <FlaskConical aria-hidden className="size-4" /> {run.data ? "Run again" : "Run dry"}
        </Button>
      </div>
      <div role="status" className="mt-3">
        {run.isPending ? (
          <p className="text-sm text-muted">Projecting the stream&apos;s rows without writing…</p>
        ) : run.data ? (
          <p className="font-semibold">{summary(run.data)}</p>
        ) : null}
      </div>
      {run.isError ? (
        <ErrorState
          error={run.error}
          title="The dry run did not come to its end"
          retry={() => start(field)}
        />
      ) : null}
      {run.data ? <Found changes={run.data} field={field} onField={start} /> : null}
    </section>
  );
}

function summary({ rows, cells }: Changes): string {
  if (rows.affected + rows.quarantined + rows.released + cells.quarantined + cells.released === 0)
    return "Nothing would change.";
  const parts = [
    `${many(rows.affected, "row")} would change`,
    rows.added ? `${many(rows.added, "row")} would appear` : "",
    rows.removed ? `${many(rows.removed, "row")} would go` : "",
    rows.quarantined ? `${many(rows.quarantined, "row")} would wait whole` : "",
    rows.released ? `${many(rows.released, "row")} would no longer wait` : "",
  ].filter(Boolean);
  return `${parts.join(", ")}: ${many(rows.unified, "row")} of the view.`;
}

function Found({
  changes,
  field,
  onField,
}: {
  changes: Changes;
  field: string;
  onField: (field: string) => void;
}) {
  if (changes.fields.length === 0) return null;
  const names = [...new Set(changes.fields.map((one) => one.field))];
  return (
    <>
      <TableFrame label="Cells by field" className="mt-3">
        <thead>
          <tr>
            <th scope="col" className={TH}>
              Field
            </th>
            {COUNTS.map(([key, label]) => (
              <th key={key} scope="col" className={cx(TH, "text-right")}>
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {changes.fields.map((one) => (
            <tr key={`${one.entity} ${one.field}`}>
              <th scope="row" className={cx(TD, "font-bold text-entity")}>
                {humanize(one.field)}
                {one.entity === changes.entity ? null : (
                  <span className="text-muted"> of {humanize(one.entity)}</span>
                )}
              </th>
              {COUNTS.map(([key]) => (
                <td key={key} className={cx(TD, "data text-right")}>
                  {count(one[key])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </TableFrame>
      <div className="mt-4 flex flex-wrap items-center justify-between gap-3">
        <h4 className="text-sm font-bold text-muted">
          The first {many(changes.examples.length, "cell")}, before and after
        </h4>
        {names.length > 1 || field ? (
          <Select
            aria-label="Cells of which field"
            className="w-auto"
            value={field}
            onChange={(event) => onField(event.target.value)}
          >
            <option value="">All fields</option>
            {names.map((name) => (
              <option key={name} value={name}>
                {humanize(name)}
              </option>
            ))}
          </Select>
        ) : null}
      </div>
      <TableFrame label="Cells before and after" className="mt-2 max-h-96">
        <thead>
          <tr>
            {["Row", "Field", "Before", "After", "Why"].map((label) => (
              <th key={label} scope="col" className={TH}>
                {label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {changes.examples.map((example, index) => (
            <tr key={`${example.record_id} ${example.field} ${index}`} className="align-top">
              <td className={cx(TD, "data break-all")}>{example.source_id}</td>
              <td className={cx(TD, "font-bold text-entity")}>{humanize(example.field)}</td>
              <td className={cx(TD, "data break-all")}>
                <Value of={example.before} />
              </td>
              <td className={cx(TD, "data break-all")}>
                {example.kind === "quarantined" ? (
                  <span className="text-warn">waits</span>
                ) : (
                  <Value of={example.after} />
                )}
              </td>
              <td className={cx(TD, "text-muted")}>
                {KINDS[example.kind]}: {example.reason}
              </td>
            </tr>
          ))}
        </tbody>
      </TableFrame>
    </>
  );
}

function Value({ of }: { of: string | null }) {
  return of === null ? <span className="text-muted">empty</span> : <>{of}</>;
}
