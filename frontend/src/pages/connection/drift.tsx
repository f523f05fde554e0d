import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { ArrowRight, ShieldCheck } from "lucide-react";
import { q } from "@/api/queries";
import type { Drift, DriftSide } from "@/api/types";
import { driftKind } from "@/lib/format";
import { buttonClass } from "@/ui/button";
import { Card, Empty, SkeletonRows, Status, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";

export default function DriftTab({ connectionId }: { connectionId: string }) {
  const drift = useQuery(q.drift({ connection_id: connectionId, limit: 200 }));
  if (drift.isPending) {
    return (
      <Card>
        <SkeletonRows />
      </Card>
    );
  }
  if (drift.isError) return <ErrorState error={drift.error} retry={() => void drift.refetch()} />;
  if (drift.data.length === 0) {
    return (
      <Card>
        <Empty icon={ShieldCheck} title="No drift has been found">
          Every batch is compared with what the source sent before. A renamed column, a new unit or
          a lost key appears here before it can reach a view.
        </Empty>
      </Card>
    );
  }
  return (
    <Card aria-label="Drift">
      <div className="flex justify-end px-4 py-3 md:px-6">
        <Link
          to="/repairs"
          search={{ connection_id: connectionId }}
          className={buttonClass("secondary", true)}
        >
          Repairs of this connection
        </Link>
      </div>
      <ul>
        {drift.data.map((finding) => (
          <Finding key={finding.id} finding={finding} />
        ))}
      </ul>
    </Card>
  );
}

const sideText = (side: DriftSide | null | undefined) =>
  side?.summary ??
  side?.fields?.map((field) => `${field.name} (${field.type})`).join(", ") ??
  "nothing";

function Finding({ finding }: { finding: Drift }) {
  return (
    <li className="border-t border-line px-4 py-4 md:px-6">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-2">
        <span className="font-bold">{driftKind(finding.kind)}</span>
        <Status of={finding.severity} />
        <Status of={finding.status} />
        <span className="ml-auto text-sm text-muted">
          <Time at={finding.detected_at} />
        </span>
      </div>
      <p className="mt-1 text-sm">
        <span className="font-semibold break-all text-source">
          {finding.stream}
          {finding.field ? `.${finding.field}` : ""}
        </span>
      </p>
      <p className="mt-1 flex flex-wrap items-center gap-2 text-sm text-muted">
        <span className="break-words">{sideText(finding.before)}</span>
        <ArrowRight aria-label="became" className="size-4 shrink-0" />
        <span className="break-words text-ink">{sideText(finding.after)}</span>
      </p>
      {finding.evidence?.length ? (
        <p className="mt-1 text-sm text-muted">{finding.evidence[0]?.detail}</p>
      ) : null}
    </li>
  );
}
