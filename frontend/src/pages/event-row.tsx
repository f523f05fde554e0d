import { Bot, Cable, CircleDot, Table2 } from "lucide-react";
import type { LogEvent } from "@/api/types";
import { eventFamily, eventText } from "@/lib/events-text";
import { humanize } from "@/lib/format";
import { cx } from "@/ui/cx";
import { Time } from "@/ui/display";

const LOOK = {
  source: ["bg-source-soft text-source", Cable],
  entity: ["bg-entity-soft text-entity", Table2],
  agent: ["bg-agent-soft text-agent", Bot],
  neutral: ["bg-sunken text-muted", CircleDot],
} as const;

export function EventIcon({ event }: { event: LogEvent }) {
  const [colours, Icon] = LOOK[eventFamily(event)];
  return (
    <span
      className={cx("edge-when-forced grid size-8 shrink-0 place-items-center rounded-lg", colours)}
    >
      <Icon aria-hidden className="size-4" />
    </span>
  );
}

export function EventLine({ event }: { event: LogEvent }) {
  return (
    <div className="flex min-h-12 items-center gap-3 py-2">
      <EventIcon event={event} />
      <div className="min-w-0 flex-1">
        <p className="text-sm font-semibold break-words">{eventText(event)}</p>
        <p className="text-xs text-muted">{humanize(event.type)}</p>
      </div>
      <Time at={event.recorded_at} className="text-xs text-muted" />
    </div>
  );
}
