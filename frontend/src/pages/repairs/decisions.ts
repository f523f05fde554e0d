// Decisions about several repairs: one after the other, each with its own outcome, so that one that
// fails keeps none of the others from theirs.

import * as calls from "@/api/calls";
import { errorText } from "@/ui/error";
import type { Repair } from "@/api/types";
import { repairTitle } from "./title";

export type Decision = "approve" | "reject" | "roll_back";

export interface Outcome {
  id: string;
  title: string;
  decision: Decision;
  /** Why it was not taken; none: it was. */
  failed?: string;
}

/** The last decisions, as they are kept on this device: what can be taken back is among them. */
export interface Decided {
  at: string;
  outcomes: Outcome[];
}

export function decide(id: string, decision: Decision): Promise<Repair> {
  if (decision === "approve") return calls.repairs.approve(id);
  return decision === "reject" ? calls.repairs.reject(id) : calls.repairs.rollBack(id);
}

export async function decideAll(
  repairs: Pick<Repair, "id" | "proposal" | "drifts">[],
  decision: Decision,
  onEach: (outcome: Outcome) => void,
  take: (id: string, decision: Decision) => Promise<unknown> = decide,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  for (const repair of repairs) {
    const outcome: Outcome = { id: repair.id, title: repairTitle(repair as Repair), decision };
    try {
      await take(repair.id, decision);
    } catch (error) {
      outcome.failed = errorText(error);
    }
    outcomes.push(outcome);
    onEach(outcome);
  }
  return outcomes;
}

/** What rolling back takes back: repairs that were approved, the last one first, for a later one may
 * stand on an earlier one. */
export function undoable(outcomes: Outcome[]): Outcome[] {
  return outcomes
    .filter((outcome) => outcome.decision === "approve" && outcome.failed === undefined)
    .reverse();
}
