// Several repairs decided at once: which are chosen, what came of each, and the way back.

import { useQueryClient } from "@tanstack/react-query";
import { Ban, Check as Tick, CircleCheck, CircleX, RotateCcw } from "lucide-react";
import { useState } from "react";
import type { Repair } from "@/api/types";
import { many } from "@/lib/format";
import { useDraft } from "@/lib/hooks";
import { Button } from "@/ui/button";
import { Card } from "@/ui/display";
import { Confirm } from "@/ui/overlay";
import { decideAll, undoable, type Decided, type Decision, type Outcome } from "./decisions";

const DID: Record<Decision, string> = {
  approve: "approved",
  reject: "rejected",
  roll_back: "rolled back",
};

export function Bulk({
  list,
  chosen,
  onChoose,
}: {
  list: Repair[];
  chosen: ReadonlySet<string>;
  onChoose: (ids: Set<string>) => void;
}) {
  const client = useQueryClient();
  const [decided, setDecided, forget] = useDraft<Decided | null>("repairs.decided", null);
  const [running, setRunning] = useState<{ decision: Decision; done: number; of: number } | null>(
    null,
  );
  const [asked, setAsked] = useState<"approve" | "reject" | null>(null);
  const open = list.filter((repair) => ["pending_review", "held"].includes(repair.status));
  const wanted = open.filter((repair) => chosen.has(repair.id));

  const stale = () => {
    for (const key of ["repairs", "repairs-waiting", "drift", "mappings"])
      void client.invalidateQueries({ queryKey: [key] });
  };
  const take = async (repairs: Repair[], decision: Decision) => {
    setRunning({ decision, done: 0, of: repairs.length });
    const outcomes = await decideAll(repairs, decision, () =>
      setRunning((before) => (before ? { ...before, done: before.done + 1 } : before)),
    );
    setDecided({ at: new Date().toISOString(), outcomes });
    onChoose(new Set(outcomes.filter((one) => one.failed !== undefined).map((one) => one.id)));
    setRunning(null);
    stale();
  };
  const undo = async (outcomes: Outcome[]) => {
    setRunning({ decision: "roll_back", done: 0, of: outcomes.length });
    const repairs = outcomes.map((one) => ({ id: one.id, proposal: { changes: [] } }));
    const taken = await decideAll(repairs, "roll_back", () =>
      setRunning((before) => (before ? { ...before, done: before.done + 1 } : before)),
    );
    const titled = taken.map((one, index) => ({ ...one, title: outcomes[index]?.title ?? one.id }));
    setDecided({ at: new Date().toISOString(), outcomes: titled });
    setRunning(null);
    stale();
  };

  return (
    <>
      {open.length > 0 ? (
        <div
          className="mb-4 flex flex-wrap items-center gap-2"
          role="group"
          aria-label="Decide about several"
        >
          <Button
            small
            variant="ghost"
            onClick={() =>
              onChoose(
                wanted.length === open.length
                  ? new Set()
                  : new Set(open.map((repair) => repair.id)),
              )
            }
          >
            {wanted.length === open.length ? "Choose none" : "Choose all"}
          </Button>
          <p role="status" className="text-sm font-semibold">
            {running
              ? `${running.done} of ${running.of} ${DID[running.decision]}…`
              : `${wanted.length} of ${open.length} chosen`}
          </p>
          <div className="ml-auto flex flex-wrap gap-2">
            <Button
              small
              variant="danger"
              disabled={wanted.length === 0 || running !== null}
              onClick={() => setAsked("reject")}
            >
              <Ban aria-hidden className="size-4" /> Reject chosen
            </Button>
            <Button
              small
              variant="primary"
              disabled={wanted.length === 0 || running !== null}
              onClick={() => setAsked("approve")}
            >
              <Tick aria-hidden className="size-4" /> Approve chosen
            </Button>
          </div>
        </div>
      ) : null}
      {decided ? (
        <Outcomes
          outcomes={decided.outcomes}
          busy={running !== null}
          onUndo={(outcomes) => void undo(outcomes)}
          onClose={() => {
            setDecided(null);
            forget();
          }}
        />
      ) : null}
      <Confirm
        open={asked === "approve"}
        onOpenChange={(is) => setAsked(is ? "approve" : null)}
        title={`Approve ${many(wanted.length, "repair")}?`}
        action="Approve"
        onConfirm={() => void take(wanted, "approve")}
      >
        Each is applied as it is proposed, one after the other. One that fails keeps none of the
        others from being applied, and all that were can be taken back.
      </Confirm>
      <Confirm
        open={asked === "reject"}
        onOpenChange={(is) => setAsked(is ? "reject" : null)}
        title={`Reject ${many(wanted.length, "repair")}?`}
        action="Reject"
        danger
        onConfirm={() => void take(wanted, "reject")}
      >
        The affected values keep their last good state and stay held until the mapping is corrected
        or the source goes back. A rejected repair cannot be approved later.
      </Confirm>
    </>
  );
}

function Outcomes({
  outcomes,
  busy,
  onUndo,
  onClose,
}: {
  outcomes: Outcome[];
  busy: boolean;
  onUndo: (outcomes: Outcome[]) => void;
  onClose: () => void;
}) {
  const failed = outcomes.filter((one) => one.failed !== undefined);
  const back = undoable(outcomes);
  return (
    <Card aria-label="What was decided" className="mb-4 p-4">
      <div className="flex flex-wrap items-center justify-between gap-3">
        <p role="status" className="font-bold">
          {outcomes.length - failed.length} of {many(outcomes.length, "decision")} taken
          {failed.length > 0 ? `, ${failed.length} failed` : ""}
        </p>
        <div className="flex flex-wrap gap-2">
          {back.length > 0 ? (
            <Button small busy={busy} onClick={() => onUndo(back)}>
              <RotateCcw aria-hidden className="size-4" /> Undo {many(back.length, "approval")}
            </Button>
          ) : null}
          <Button small variant="ghost" onClick={onClose}>
            Dismiss
          </Button>
        </div>
      </div>
      <ul aria-label="Outcome of each" className="mt-3 flex flex-col gap-2">
        {outcomes.map((one) => (
          <li key={one.id} className="flex items-start gap-2 text-sm">
            {one.failed === undefined ? (
              <CircleCheck aria-hidden className="mt-0.5 size-4 shrink-0 text-source" />
            ) : (
              <CircleX aria-hidden className="mt-0.5 size-4 shrink-0 text-danger" />
            )}
            <span className="min-w-0">
              <span className="font-bold break-words">{one.title}</span>{" "}
              {one.failed === undefined ? (
                <span className="text-muted">{DID[one.decision]}</span>
              ) : (
                <span className="text-danger">
                  not {DID[one.decision]}: {one.failed}
                </span>
              )}
            </span>
          </li>
        ))}
      </ul>
    </Card>
  );
}
