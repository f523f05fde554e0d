// What a policy would have done alone on what people decided before; nothing is set by it.

import { useMutation } from "@tanstack/react-query";
import { History } from "lucide-react";
import * as calls from "@/api/calls";
import type { Backtest as Report, RepairPolicy } from "@/api/types";
import { count, many, percent } from "@/lib/format";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { ErrorState } from "@/ui/error";
import { TableFrame, TD, TH } from "@/ui/page";

export function Backtest({ policy }: { policy: RepairPolicy }) {
  const run = useMutation({ mutationFn: () => calls.repairs.backtest(policy) });
  return (
    <section aria-label="Backtest" className="border-t border-line p-4 md:p-6">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <div>
          <h3 className="font-bold">On your own decisions</h3>
          <p className="text-sm text-muted">
            What these thresholds would have done alone on the repairs that were decided before.
          </p>
        </div>
        <Button busy={run.isPending} onClick={() => run.mutate()}>
          <History aria-hidden className="size-4" /> Try on past decisions
        </Button>
      </div>
      <p role="status" className="mt-3 font-semibold">
        {run.data ? summary(run.data) : ""}
      </p>
      {run.isError ? (
        <ErrorState
          error={run.error}
          title="The backtest did not come to its end"
          retry={() => run.mutate()}
        />
      ) : null}
      {run.data && run.data.proposals > 0 ? <Found report={run.data} /> : null}
    </section>
  );
}

function summary(report: Report): string {
  if (report.proposals === 0)
    return "Nobody has decided about a repair yet, so there is nothing to try it on.";
  const wrong = report.automatic_wrong;
  return [
    `Of ${many(report.changes, "change")} in ${many(report.proposals, "decided repair")}, ${count(report.automatic)} would have been applied alone`,
    report.automatic > 0 ? (wrong > 0 ? `${count(wrong)} of them wrongly` : "none wrongly") : "",
    report.truncated ? "older ones were not looked at" : "",
  ]
    .filter(Boolean)
    .join(", ")
    .concat(".");
}

function Found({ report }: { report: Report }) {
  const share = (value: number | null | undefined) =>
    value === null || value === undefined ? "–" : percent(value);
  const rows: [string, string, string][] = [
    ["Applied alone", count(report.automatic), `${share(report.precision)} of them right`],
    ["Asked about", count(report.asked), ""],
    ["Held", count(report.held), ""],
    ["Found right by people", count(report.right), `${share(report.recall)} applied alone`],
  ];
  const bins = report.calibration.bins.filter((bin) => bin.changes > 0);
  return (
    <div className="mt-4 grid gap-6 lg:grid-cols-2">
      <TableFrame label="What it would have done">
        <tbody>
          {rows.map(([name, value, note]) => (
            <tr key={name}>
              <th scope="row" className={TH}>
                {name}
              </th>
              <td className={cx(TD, "data text-right")}>{value}</td>
              <td className={cx(TD, "text-sm text-muted")}>{note}</td>
            </tr>
          ))}
        </tbody>
      </TableFrame>
      <TableFrame label="What probabilities meant">
        <thead>
          <tr>
            <th scope="col" className={TH}>
              Said
            </th>
            <th scope="col" className={TH}>
              Changes
            </th>
            <th scope="col" className={TH}>
              Found right
            </th>
          </tr>
        </thead>
        <tbody>
          {bins.map((bin) => (
            <tr key={bin.from}>
              <td className={cx(TD, "data")}>{share(bin.said)}</td>
              <td className={cx(TD, "data")}>{count(bin.changes)}</td>
              <td className={cx(TD, "data")}>{share(bin.found)}</td>
            </tr>
          ))}
        </tbody>
      </TableFrame>
    </div>
  );
}
