// One repair: what changed before and after, why the proposal is believed, and the decision.

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import {
  ArrowRight,
  Ban,
  Check,
  CircleCheck,
  CircleHelp,
  CircleX,
  Pencil,
  RotateCcw,
} from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type {
  Drift,
  DriftSide,
  MappingContent,
  MappingField,
  Overlap,
  Repair,
  RepairChange,
} from "@/api/types";
import { count, driftKind, humanize, percent, shortId } from "@/lib/format";
import { useDraft } from "@/lib/hooks";
import { transformText } from "@/lib/transform";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Card, ScoreBar, SkeletonRows, Status, Time } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Check as CheckBox } from "@/ui/form";
import { Confirm } from "@/ui/overlay";
import { MappingEditor, Origin } from "../mapping-editor";
import { DryRun } from "./dry-run";
import { repairTitle } from "./title";

type Decision = "approve" | "reject" | "roll_back";
const DONE: Record<Decision, string> = {
  approve: "Repair approved",
  reject: "Repair rejected",
  roll_back: "Repair rolled back",
};

export function RepairDetail({ id }: { id: string }) {
  const client = useQueryClient();
  const repair = useQuery(q.repair(id));
  const connections = useQuery(q.connections());
  const ontology = useQuery(q.ontology());
  const [rejecting, setRejecting] = useState(false);
  const [draft, setDraft, clearDraft] = useDraft<MappingContent | null>(`repair.${id}`, null);
  const [editing, setEditing] = useState(draft !== null);

  const [leftOut, setLeftOut, clearLeftOut] = useDraft<string[]>(`repair.${id}.left-out`, []);

  const decide = useMutation({
    mutationFn: ({
      decision,
      ...body
    }: {
      decision: Decision;
      mapping?: MappingContent;
      drift_ids?: string[];
    }) =>
      decision === "approve"
        ? calls.repairs.approve(id, body)
        : decision === "reject"
          ? calls.repairs.reject(id, body)
          : calls.repairs.rollBack(id),
    onSuccess: (repair, { decision }) => {
      clearDraft();
      clearLeftOut();
      setLeftOut([]);
      setEditing(false);
      void client.invalidateQueries({ queryKey: ["repairs"] });
      void client.invalidateQueries({ queryKey: ["repairs-waiting"] });
      void client.invalidateQueries({ queryKey: ["drift"] });
      void client.invalidateQueries({ queryKey: ["mappings"] });
      toast.success(DONE[decision], {
        description: repair.rest_id
          ? "The other changes wait as a repair of their own."
          : decision === "reject"
            ? "The affected values stay held."
            : "The affected history is being projected again.",
        action:
          decision === "approve"
            ? { label: "Undo", onClick: () => decide.mutate({ decision: "roll_back" }) }
            : undefined,
      });
    },
    onError: (error) =>
      toast.error("The decision was not taken", { description: errorText(error) }),
  });

  if (repair.isPending) {
    return (
      <Card>
        <SkeletonRows rows={5} />
      </Card>
    );
  }
  if (repair.isError)
    return <ErrorState error={repair.error} retry={() => void repair.refetch()} />;
  const data = repair.data;
  const connection = connections.data?.find((one) => one.id === data.connection_id);
  const decidable = data.status === "pending_review" || data.status === "held";
  const reversible = data.status === "approved" || data.status === "auto_applied";
  const proposed: MappingContent | null = data.proposal.mapping ?? null;
  const together = data.proposal.together ?? [];
  const choosing = decidable && !editing && together.length > 1;
  const chosen = together.filter((group) => !group.some((drift) => leftOut.includes(drift)));
  const part = choosing && chosen.length < together.length ? chosen.flat() : undefined;
  const partName = part ? ` ${chosen.length} of ${together.length}` : "";
  return (
    <Card as="article" aria-label={repairTitle(data)}>
      <header className="flex flex-wrap items-start justify-between gap-x-6 gap-y-3 border-b border-line p-4 md:p-6">
        <div className="min-w-0">
          <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
            <h2 className="text-xl font-bold break-words">{repairTitle(data)}</h2>
            <Status of={data.status} />
          </div>
          <p className="mt-1 flex flex-wrap items-center gap-x-2 text-sm text-muted">
            <Link
              to="/connections/$connectionId"
              params={{ connectionId: data.connection_id }}
              search={{ tab: "drift" }}
              className="font-bold text-source underline-offset-4 hover:underline"
            >
              {connection?.name ?? shortId(data.connection_id)}
            </Link>
            <span>· {data.stream}</span>
            {data.entity ? (
              <>
                <ArrowRight aria-label="feeds" className="size-3.5" />
                <Link
                  to="/views/$entity"
                  params={{ entity: data.entity }}
                  className="font-bold text-entity underline-offset-4 hover:underline"
                >
                  {humanize(data.entity)}
                </Link>
              </>
            ) : null}
            <span>
              · proposed <Time at={data.created_at} />
            </span>
            {data.decided_at ? (
              <span>
                · decided <Time at={data.decided_at} />
              </span>
            ) : null}
          </p>
        </div>
        <div className="text-right">
          <p className="text-sm text-muted">Confidence</p>
          <p className="text-2xl font-bold tabular-nums">{percent(data.confidence)}</p>
        </div>
      </header>

      <div className="flex flex-col gap-6 p-4 md:p-6">
        {data.proposal.changes.map((change, index) => (
          <Change
            key={`${change.drift_id} ${index}`}
            change={change}
            drift={driftOf(data, change)}
            feeds={targetsOf(data, change)}
            choice={
              choosing
                ? choiceOf(data.proposal.changes, together, change, leftOut, setLeftOut)
                : undefined
            }
          />
        ))}
        {driftsWithoutChange(data).map((drift, index) => (
          <section key={index} aria-label={driftKind(drift.kind ?? "")}>
            <h3 className="mb-3 font-bold">{driftKind(drift.kind ?? "drift")}</h3>
            <BeforeAfter before={drift.before} after={drift.after} />
          </section>
        ))}
        {editing && proposed ? (
          <section aria-label="Edit the mapping" className="rounded-2xl border border-line p-4">
            <h3 className="mb-3 font-bold">Mapping to approve</h3>
            <MappingEditor
              value={draft ?? proposed}
              onChange={setDraft}
              entities={ontology.data?.entities ?? []}
              columns={
                data.drifts?.flatMap(
                  (drift) => drift.after?.fields?.map((field) => field.name) ?? [],
                ) ?? []
              }
            />
          </section>
        ) : null}
        {reversible || (decidable && data.proposal.changes.length > 0) ? (
          <DryRun
            key={`${data.status} ${editing ? JSON.stringify(draft) : ""} ${part?.join() ?? ""}`}
            repairId={id}
            undo={reversible}
            driftIds={part}
            mapping={editing ? (draft ?? undefined) : undefined}
          />
        ) : null}
      </div>

      {decidable || reversible ? (
        <footer className="sticky bottom-[calc(4.25rem+env(safe-area-inset-bottom))] flex flex-wrap justify-end gap-2 rounded-b-2xl border-t border-line bg-surface p-4 md:bottom-0 md:px-6">
          {reversible ? (
            <Button
              busy={decide.isPending}
              onClick={() => decide.mutate({ decision: "roll_back" })}
            >
              <RotateCcw aria-hidden className="size-4" /> Roll back
            </Button>
          ) : null}
          {decidable ? (
            <>
              <Button
                variant="danger"
                disabled={decide.isPending || part?.length === 0}
                onClick={() => setRejecting(true)}
              >
                <Ban aria-hidden className="size-4" /> Reject{partName}
              </Button>
              {proposed ? (
                editing ? (
                  <Button
                    onClick={() => {
                      clearDraft();
                      setDraft(null);
                      setEditing(false);
                    }}
                  >
                    Discard edits
                  </Button>
                ) : (
                  <Button onClick={() => setEditing(true)}>
                    <Pencil aria-hidden className="size-4" /> Edit
                  </Button>
                )
              ) : null}
              <Button
                variant="primary"
                busy={decide.isPending}
                disabled={
                  (data.proposal.changes.length === 0 && !(editing && draft)) || part?.length === 0
                }
                onClick={() =>
                  decide.mutate({
                    decision: "approve",
                    mapping: editing ? (draft ?? undefined) : undefined,
                    drift_ids: part,
                  })
                }
              >
                <Check aria-hidden className="size-4" />{" "}
                {editing && draft ? "Approve edited" : `Approve${partName}`}
              </Button>
            </>
          ) : null}
        </footer>
      ) : null}
      <Confirm
        open={rejecting}
        onOpenChange={setRejecting}
        title={part ? "Reject the chosen changes?" : "Reject this repair?"}
        action={part ? "Reject changes" : "Reject repair"}
        danger
        onConfirm={() => decide.mutate({ decision: "reject", drift_ids: part })}
      >
        The affected values keep their last good state and stay held until the mapping is corrected
        or the source goes back. A rejected repair cannot be approved later.
      </Confirm>
    </Card>
  );
}

/** The fields that read the changed column: what waits, or would be wrong. */
function targetsOf(repair: Repair, change: RepairChange): string[] {
  const lines = repair.before?.fields ?? repair.proposal.mapping?.fields ?? [];
  const reads = (line: MappingField) => {
    const columns = [line.source, ...(line.also ?? [])];
    return (
      columns.includes(change.old_source) || columns.some((one) => change.new_sources.includes(one))
    );
  };
  return lines.filter(reads).map((line) => line.target);
}

/** The drift a change answers: by id, or by place where the answer leaves ids out. */
function driftOf(repair: Repair, change: RepairChange): Partial<Drift> | undefined {
  const byId = repair.drifts?.find((drift) => drift.id === change.drift_id);
  if (byId) return byId;
  const at = repair.drift_ids?.indexOf(change.drift_id) ?? -1;
  return at >= 0
    ? repair.drifts?.[at]
    : repair.drifts?.find((drift) => drift.field === change.old_source);
}

function driftsWithoutChange(repair: Repair): Partial<Drift>[] {
  const answered = new Set(repair.proposal.changes.map((change) => driftOf(repair, change)));
  return repair.drifts?.filter((drift) => !answered.has(drift)) ?? [];
}

/** Whether a change is among those to be decided about, and what goes with it. */
interface Choice {
  taken: boolean;
  with: string[];
  take: (taken: boolean) => void;
}

function choiceOf(
  changes: RepairChange[],
  together: string[][],
  change: RepairChange,
  leftOut: string[],
  setLeftOut: (ids: string[]) => void,
): Choice {
  const group = together.find((ids) => ids.includes(change.drift_id)) ?? [change.drift_id];
  const others = leftOut.filter((id) => !group.includes(id));
  return {
    taken: !group.some((id) => leftOut.includes(id)),
    with: changes
      .filter((other) => other !== change && group.includes(other.drift_id))
      .map((other) => other.old_source),
    take: (taken) => setLeftOut(taken ? others : [...others, ...group]),
  };
}

function Change({
  change,
  drift,
  feeds,
  choice,
}: {
  change: RepairChange;
  drift: Partial<Drift> | undefined;
  feeds: string[];
  choice?: Choice;
}) {
  const target = change.new_sources.join(" + ");
  return (
    <section aria-label={`${change.old_source} becomes ${target}`}>
      <div className="mb-3 flex flex-wrap items-baseline justify-between gap-x-4 gap-y-1">
        <h3 className="flex flex-wrap items-center gap-2 font-bold">
          {drift?.kind ? <span className="text-muted">{driftKind(drift.kind)}:</span> : null}
          <span className="break-all">{change.old_source}</span>
          <ArrowRight aria-label="becomes" className="size-4 text-muted" />
          <span className="break-all text-agent">{target}</span>
          {change.adapt ? (
            <span className="font-medium text-muted">({transformText(change.adapt)})</span>
          ) : null}
        </h3>
        <p className="flex items-center gap-3">
          {change.origin && change.origin !== "matcher" ? <Origin of={change.origin} /> : null}
          <span className="data font-semibold">{percent(change.probability)}</span>
        </p>
      </div>
      {choice ? (
        <div className="mb-3 flex flex-wrap items-baseline gap-x-3">
          <CheckBox
            label={`Decide about ${change.old_source}`}
            checked={choice.taken}
            onChange={(event) => choice.take(event.target.checked)}
          />
          {choice.with.length > 0 ? (
            <span className="text-sm text-muted">together with {choice.with.join(", ")}</span>
          ) : null}
        </div>
      ) : null}
      {feeds.length > 0 ? (
        <p className="mb-3 text-sm text-muted">
          Feeds <span className="font-bold text-entity">{feeds.map(humanize).join(", ")}</span>
        </p>
      ) : null}
      <BeforeAfter before={drift?.before} after={drift?.after} />
      <div className="mt-4 grid gap-x-8 gap-y-3 md:grid-cols-2">
        <div>
          <h4 className="mb-2 text-sm font-bold text-muted">Evidence</h4>
          <ul className="flex flex-col gap-3">
            {change.evidence.map((evidence, index) => (
              <li key={index}>
                <p className="text-sm font-bold">{humanize(evidence.signal)}</p>
                <ScoreBar score={evidence.score} label={humanize(evidence.signal)} />
                {evidence.detail ? <p className="text-sm text-muted">{evidence.detail}</p> : null}
              </li>
            ))}
            {change.evidence.length === 0 ? (
              <li className="text-sm text-muted">None was recorded.</li>
            ) : null}
          </ul>
        </div>
        <div>
          <h4 className="mb-2 text-sm font-bold text-muted">
            Check on records that both editions have
          </h4>
          <OverlapText overlap={change.overlap} />
        </div>
      </div>
    </section>
  );
}

function OverlapText({ overlap }: { overlap: Overlap | null | undefined }) {
  if (!overlap) return <p className="text-sm text-muted">Not made.</p>;
  const [Icon, colour, text] =
    overlap.result === "agrees"
      ? ([
          CircleCheck,
          "text-source",
          `Agrees: of ${count(overlap.compared)} compared records, ${count(overlap.disagreeing ?? 0)} differ`,
        ] as const)
      : overlap.result === "objects"
        ? ([
            CircleX,
            "text-danger",
            `Objects: of ${count(overlap.compared)} compared records, ${count(overlap.disagreeing ?? 0)} differ`,
          ] as const)
        : ([
            CircleHelp,
            "text-warn",
            `Cannot say: only ${count(overlap.compared)} records could be compared`,
          ] as const);
  return (
    <p className={cx("flex items-start gap-2 text-sm font-bold", colour)}>
      <Icon aria-hidden className="mt-0.5 size-4 shrink-0" /> {text}
    </p>
  );
}

function BeforeAfter({
  before,
  after,
}: {
  before: DriftSide | null | undefined;
  after: DriftSide | null | undefined;
}) {
  return (
    <div className="grid gap-3 md:grid-cols-2">
      <Side title="Before" side={before} />
      <Side title="After" side={after} />
    </div>
  );
}

function Side({ title, side }: { title: string; side: DriftSide | null | undefined }) {
  const now = title === "After";
  return (
    <div
      className={cx(
        "rounded-xl border p-4",
        now ? "border-agent/40 bg-agent-soft/40" : "border-line bg-sunken",
      )}
    >
      <p className="text-xs font-bold text-muted">{title}</p>
      {side?.fields?.map((field) => (
        <p key={field.name} className="mt-1 flex flex-wrap items-baseline gap-x-2">
          <span className="font-bold break-all">{field.name}</span>
          <span className="data text-muted">
            {field.type}
            {field.format ? ` ${field.format}` : ""}
          </span>
        </p>
      ))}
      {side?.summary ? <p className="mt-1 text-sm text-muted">{side.summary}</p> : null}
      {side?.samples?.length ? (
        <ul
          aria-label={`Sample values ${title.toLowerCase()}`}
          className="mt-3 flex flex-col divide-y divide-line rounded-lg border border-line bg-surface"
        >
          {side.samples.slice(0, 6).map((sample, index) => (
            <li key={index} className="data px-3 py-1.5 break-all">
              {sample === "" ? <span className="text-muted">empty</span> : sample}
            </li>
          ))}
        </ul>
      ) : !side?.fields?.length && !side?.summary ? (
        <p className="mt-1 text-sm text-muted">{now ? "Not there any more." : "Was not there."}</p>
      ) : null}
    </div>
  );
}
