import { Link, type LinkProps } from "@tanstack/react-router";
import { ChevronRight, RefreshCw } from "lucide-react";
import type { ReactNode } from "react";
import { useLive } from "@/api/events";
import { ago } from "@/lib/format";
import { useNow, useTitle } from "@/lib/hooks";
import { cx } from "./cx";

export function PageHead({
  title,
  intro,
  actions,
  trail,
  kicker,
}: {
  title: string;
  intro?: ReactNode;
  actions?: ReactNode;
  trail?: { label: string; link: LinkProps }[];
  kicker?: ReactNode;
}) {
  useTitle(title);
  return (
    <header className="mb-4 flex flex-wrap items-end justify-between gap-x-6 gap-y-3 md:mb-6">
      <div className="min-w-0">
        {trail ? (
          <nav aria-label="Breadcrumb" className="-ml-1 mb-1">
            <ol className="flex flex-wrap items-center text-sm text-muted">
              {trail.map((step) => (
                <li key={step.label} className="flex items-center">
                  <Link
                    {...step.link}
                    className="inline-flex min-h-11 items-center rounded-lg px-1 hover:text-ink hover:underline md:pointer-fine:min-h-7"
                  >
                    {step.label}
                  </Link>
                  <ChevronRight aria-hidden className="size-4" />
                </li>
              ))}
            </ol>
          </nav>
        ) : null}
        <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
          <h1 className="min-w-0 text-2xl font-bold tracking-tight break-words md:text-[1.75rem]">
            {title}
          </h1>
          {kicker}
        </div>
        {intro ? (
          <p className="mt-1 max-w-3xl text-sm text-pretty text-muted md:text-[0.9375rem]">
            {intro}
          </p>
        ) : null}
      </div>
      {actions ? <div className="flex flex-wrap items-center gap-2">{actions}</div> : null}
    </header>
  );
}

/** Tabs that are links: the choice is in the URL. */
export function TabLinks({
  label,
  tabs,
}: {
  label: string;
  tabs: { key: string; label: ReactNode; active: boolean; link: LinkProps }[];
}) {
  return (
    <nav
      aria-label={label}
      className="no-bar -mx-4 mb-4 overflow-x-auto px-4 md:mx-0 md:mb-6 md:px-0"
    >
      <ul className="flex min-w-max gap-1 border-b border-line">
        {tabs.map((tab) => (
          <li key={tab.key}>
            <Link
              {...tab.link}
              aria-current={tab.active ? "page" : undefined}
              className={cx(
                "-mb-px inline-flex min-h-11 items-center gap-2 rounded-t-lg border-b-2 px-3 text-sm font-semibold -outline-offset-2 transition-colors md:px-4",
                tab.active
                  ? "border-accent-strong text-accent-strong"
                  : "border-transparent text-muted hover:text-ink",
              )}
            >
              {tab.label}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}

/** How fresh a page is: live, reconnecting, or when it was last asked for. */
export function Freshness({ updatedAt, fetching }: { updatedAt: number; fetching?: boolean }) {
  const { state } = useLive();
  const now = useNow(1000);
  const text =
    state === "live"
      ? "Live"
      : state === "reconnecting"
        ? "Reconnecting"
        : state === "connecting"
          ? "Connecting"
          : "Not live";
  return (
    <span className="inline-flex min-h-5 items-center gap-2 text-xs font-semibold text-muted">
      <span className="hidden items-center gap-2 md:inline-flex">
        <span
          aria-hidden
          className={cx("size-2 rounded-full", state === "live" ? "bg-source" : "bg-warn")}
        />
        {text}
      </span>
      {updatedAt > 0 ? (
        <span className="font-medium">updated {ago(new Date(updatedAt), now)}</span>
      ) : null}
      {fetching ? <RefreshCw aria-hidden className="size-3 animate-spin" /> : null}
    </span>
  );
}

/** "12 new": offered, never pushed under the pointer. */
export function NewItems({
  count,
  onShow,
  what = "new",
}: {
  count: number;
  onShow: () => void;
  what?: string;
}) {
  return (
    <div aria-live="polite">
      {count > 0 ? (
        <button
          type="button"
          onClick={onShow}
          className="rise inline-flex min-h-11 items-center gap-2 rounded-full bg-accent px-4 text-sm font-bold text-white shadow-sm md:pointer-fine:min-h-8"
        >
          <RefreshCw aria-hidden className="size-3.5" />
          {count} {what}
        </button>
      ) : null}
    </div>
  );
}

/** A table on wide screens; the caller gives cards for narrow ones. */
export function TableFrame({
  label,
  children,
  className,
}: {
  label: string;
  children: ReactNode;
  className?: string;
}) {
  return (
    <div
      role="region"
      aria-label={label}
      tabIndex={0}
      className={cx("overflow-x-auto rounded-b-2xl -outline-offset-2", className)}
    >
      <table className="w-full border-collapse text-left text-sm">{children}</table>
    </div>
  );
}
export const TH = "px-4 py-2.5 text-xs font-bold text-muted whitespace-nowrap first:pl-6 last:pr-6";
export const TD = "border-t border-line px-4 py-3 align-middle first:pl-6 last:pr-6";

/** A part that opens on demand. */
export function Disclosure({
  summary,
  children,
  open,
  onToggle,
  className,
}: {
  summary: ReactNode;
  children: ReactNode;
  open?: boolean;
  onToggle?: (open: boolean) => void;
  className?: string;
}) {
  return (
    <details
      open={open}
      onToggle={(event) => onToggle?.(event.currentTarget.open)}
      className={cx("group", className)}
    >
      <summary className="flex min-h-11 list-none items-center gap-2 rounded-lg text-sm font-semibold text-muted hover:text-ink [&::-webkit-details-marker]:hidden">
        <ChevronRight
          aria-hidden
          className="size-4 shrink-0 transition-transform group-open:rotate-90"
        />
        {summary}
      </summary>
      {children}
    </details>
  );
}
