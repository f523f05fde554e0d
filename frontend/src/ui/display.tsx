import {
  Ban,
  Check as CheckIcon,
  CircleAlert,
  CircleCheck,
  CircleDashed,
  CircleDot,
  CirclePause,
  CircleX,
  Copy,
  LoaderCircle,
  RotateCcw,
  TriangleAlert,
  type LucideIcon,
} from "lucide-react";
import { useRef, useState, type ReactNode } from "react";
import { ago, dateTime, humanize, percent } from "@/lib/format";
import { useNow } from "@/lib/hooks";
import { Button } from "./button";
import { cx } from "./cx";

export type Tone = "neutral" | "source" | "entity" | "agent" | "good" | "warn" | "danger";

const TONES: Record<Tone, string> = {
  neutral: "bg-sunken text-muted",
  source: "bg-source-soft text-source",
  entity: "bg-entity-soft text-entity",
  agent: "bg-agent-soft text-agent",
  good: "bg-source-soft text-source",
  warn: "bg-warn-soft text-warn",
  danger: "bg-danger-soft text-danger",
};

export function Badge({
  tone = "neutral",
  icon: Icon,
  spin,
  children,
}: {
  tone?: Tone;
  icon?: LucideIcon;
  spin?: boolean;
  children: ReactNode;
}) {
  return (
    <span
      className={cx(
        "edge-when-forced inline-flex min-h-6 items-center gap-1.5 rounded-full px-2.5 text-xs font-bold whitespace-nowrap",
        TONES[tone],
      )}
    >
      {Icon ? <Icon aria-hidden className={cx("size-3.5", spin && "animate-spin")} /> : null}
      {children}
    </span>
  );
}

const STATUS: Record<string, [Tone, LucideIcon, string?]> = {
  healthy: ["good", CircleCheck],
  succeeded: ["good", CircleCheck],
  approved: ["good", CircleCheck],
  auto_applied: ["agent", CircleCheck, "Applied by itself"],
  repaired: ["good", CircleCheck],
  accepted: ["good", CircleCheck],
  live: ["good", CircleCheck],
  ready: ["good", CircleCheck],
  current: ["good", CircleCheck],
  ok: ["good", CircleCheck],
  running: ["entity", LoaderCircle],
  syncing: ["entity", LoaderCircle],
  rebuilding: ["entity", LoaderCircle],
  catching_up: ["entity", LoaderCircle],
  queued: ["neutral", CircleDashed],
  draft: ["neutral", CircleDashed, "Not tested"],
  retrying: ["warn", RotateCcw],
  pending_review: ["warn", CircleAlert, "Needs review"],
  held: ["warn", CirclePause],
  open: ["warn", CircleDot],
  paused: ["warn", CirclePause],
  rejected: ["neutral", Ban],
  cancelled: ["neutral", Ban],
  expired: ["neutral", Ban],
  reverted: ["neutral", RotateCcw],
  rolled_back: ["neutral", RotateCcw],
  failing: ["danger", CircleX],
  failed: ["danger", CircleX],
  dead: ["danger", CircleX],
  poisoned: ["danger", CircleX],
  critical: ["danger", TriangleAlert],
  warning: ["warn", TriangleAlert],
  info: ["neutral", CircleDot],
};

/** A state by icon and word; the colour only supports them. */
export function Status({ of }: { of: string }) {
  const [tone, icon, text] = STATUS[of] ?? ["neutral", CircleDot];
  return (
    <Badge tone={tone} icon={icon} spin={icon === LoaderCircle}>
      {text ?? humanize(of)}
    </Badge>
  );
}

export function Time({ at, className }: { at: string | null | undefined; className?: string }) {
  const now = useNow();
  if (!at) return <span className={className}>–</span>;
  const time = new Date(at);
  if (Number.isNaN(time.getTime())) return <span className={className}>{at}</span>;
  return (
    <time dateTime={at} title={dateTime(time)} className={cx("whitespace-nowrap", className)}>
      {ago(time, now)}
    </time>
  );
}

export function Card({
  children,
  className,
  as: Tag = "section",
  ...rest
}: {
  children: ReactNode;
  className?: string;
  as?: "section" | "div" | "article" | "li";
  "aria-label"?: string;
  "aria-labelledby"?: string;
  id?: string;
}) {
  return (
    <Tag
      className={cx("rounded-2xl border border-line bg-surface shadow-card", className)}
      {...rest}
    >
      {children}
    </Tag>
  );
}

export function CardHead({
  title,
  id,
  children,
  hint,
}: {
  title: ReactNode;
  id?: string;
  hint?: ReactNode;
  children?: ReactNode;
}) {
  return (
    <div className="flex flex-wrap items-center justify-between gap-x-4 gap-y-2 px-4 pt-4 md:px-6 md:pt-5">
      <div className="min-w-0">
        <h2 id={id} className="text-base font-bold">
          {title}
        </h2>
        {hint ? <p className="text-sm text-muted">{hint}</p> : null}
      </div>
      {children ? <div className="flex flex-wrap items-center gap-2">{children}</div> : null}
    </div>
  );
}

/** Progress from events only: `value` null means that the total is not known. */
export function Progress({
  value,
  label,
  tone = "accent",
}: {
  value: number | null;
  label: string;
  tone?: "accent" | "agent" | "source";
}) {
  const share = value === null ? null : Math.max(0, Math.min(1, value));
  return (
    <div
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={share === null ? undefined : Math.round(share * 100)}
      className="edge-when-forced h-2 w-full overflow-hidden rounded-full bg-sunken"
    >
      <div
        className={cx(
          "h-full rounded-full transition-[width] duration-300",
          tone === "agent" ? "bg-agent" : tone === "source" ? "bg-source" : "bg-accent",
          share === null && "w-1/3 animate-pulse",
        )}
        style={share === null ? undefined : { width: `${share * 100}%` }}
      />
    </div>
  );
}

/** How strongly something speaks for a decision, as a bar and as a number. */
export function ScoreBar({ score, label }: { score: number; label: string }) {
  return (
    <div className="flex items-center gap-3">
      <div
        aria-hidden
        className="edge-when-forced h-1.5 min-w-16 flex-1 overflow-hidden rounded-full bg-sunken"
      >
        <div
          className={cx(
            "h-full rounded-full",
            score >= 0.6 ? "bg-source" : score >= 0.3 ? "bg-warn" : "bg-danger",
          )}
          style={{ width: `${Math.max(2, Math.min(1, score) * 100)}%` }}
        />
      </div>
      <span className="data w-16 text-right">
        <span className="sr-only">{label}: </span>
        {percent(score)}
      </span>
    </div>
  );
}

export function CopyButton({
  text,
  label = "Copy",
  icon,
}: {
  text: string;
  label?: string;
  icon?: boolean;
}) {
  const [copied, setCopied] = useState(false);
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  return (
    <Button
      small
      icon={icon}
      variant={icon ? "ghost" : "secondary"}
      aria-label={icon ? label : undefined}
      onClick={async () => {
        await copyText(text);
        setCopied(true);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => setCopied(false), 2000);
      }}
    >
      {copied ? (
        <CheckIcon aria-hidden className="size-4" />
      ) : (
        <Copy aria-hidden className="size-4" />
      )}
      {icon ? null : copied ? "Copied" : label}
      <span role="status" className="sr-only">
        {copied ? "Copied" : ""}
      </span>
    </Button>
  );
}

/** The clipboard is missing where the page is served over plain HTTP. */
async function copyText(text: string) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

export function Skeleton({ className }: { className?: string }) {
  return <div aria-hidden className={cx("skeleton rounded-lg", className)} />;
}

/** Rows of the size of the content to come. */
export function SkeletonRows({
  rows = 6,
  className = "h-14",
}: {
  rows?: number;
  className?: string;
}) {
  return (
    <div role="status" aria-label="Loading" className="flex flex-col gap-2 p-4">
      {Array.from({ length: rows }, (_, index) => (
        <Skeleton key={index} className={className} />
      ))}
    </div>
  );
}

/** One sentence, one action, and perhaps another way. */
export function Empty({
  icon: Icon,
  title,
  children,
  action,
}: {
  icon: LucideIcon;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="flex flex-col items-center gap-3 px-6 py-12 text-center">
      <span className="grid size-14 place-items-center rounded-2xl bg-sunken text-muted">
        <Icon aria-hidden className="size-7" strokeWidth={1.75} />
      </span>
      <p className="text-base font-bold">{title}</p>
      {children ? <div className="max-w-md text-sm text-muted">{children}</div> : null}
      {action ? <div className="mt-2 flex flex-wrap justify-center gap-2">{action}</div> : null}
    </div>
  );
}

/** Name and value pairs. */
export function Facts({
  items,
  className,
}: {
  items: [ReactNode, ReactNode][];
  className?: string;
}) {
  return (
    <dl className={cx("grid grid-cols-[auto_minmax(0,1fr)] gap-x-6 gap-y-2 text-sm", className)}>
      {items.map(([name, value], index) => (
        <div key={index} className="contents">
          <dt className="text-muted">{name}</dt>
          <dd className="min-w-0 text-right break-words sm:text-left">{value}</dd>
        </div>
      ))}
    </dl>
  );
}
