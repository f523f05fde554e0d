import type { Repair } from "@/api/types";
import { driftKind } from "@/lib/format";

/** A repair in a few words: its first change, and how many more there are. */
export function repairTitle(repair: Repair): string {
  const change = repair.proposal?.changes?.[0];
  const more = (repair.proposal?.changes?.length ?? 0) - 1;
  const first = change
    ? `${change.old_source} → ${change.new_sources.join(" + ")}`
    : repair.drifts?.[0]?.kind
      ? driftKind(repair.drifts[0].kind)
      : "Mapping repair";
  return more > 0 ? `${first} and ${more} more` : first;
}
