// Schedules in the words of a person.

import type { RunOutcome } from "@/api/types";
import { humanize } from "@/lib/format";

export const PRESETS = [
  { cron: "*/15 * * * *", label: "Every 15 minutes" },
  { cron: "0 * * * *", label: "Every hour" },
  { cron: "0 */6 * * *", label: "Every 6 hours" },
  { cron: "0 6 * * *", label: "Every day at 6:00" },
  { cron: "0 6 * * 1-5", label: "On workdays at 6:00" },
  { cron: "0 6 * * 1", label: "On Mondays at 6:00" },
];

export const cadence = (schedule: { cron: string }) =>
  PRESETS.find((preset) => preset.cron === schedule.cron)?.label ?? schedule.cron;

const SKIPPED: Record<string, string> = {
  busy: "a sync was under way",
  paused: "the connection was paused",
  circuit_open: "the source was left alone after failures",
  cancelled: "its task was cancelled",
  failed: "it could not be begun",
};

export function outcomeText(outcome: RunOutcome | null): string {
  if (!outcome) return "not yet";
  return outcome.result === "started"
    ? "began a sync"
    : `let pass: ${SKIPPED[outcome.reason] ?? humanize(outcome.reason).toLowerCase()}`;
}
