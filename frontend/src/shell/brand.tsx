import { cx } from "@/ui/cx";

/** Sources in green and agents in purple meet in the blue entity. */
export function Mark({ className }: { className?: string }) {
  return (
    <svg viewBox="0 0 32 32" aria-hidden className={cx("size-8 shrink-0", className)}>
      <rect width="32" height="32" rx="9" fill="#0f1b36" />
      <path
        d="M9 22 16 8l7 14"
        fill="none"
        stroke="#7aa7ff"
        strokeWidth="2.4"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
      <path d="M9 22h14" stroke="#7aa7ff" strokeWidth="2.4" strokeLinecap="round" opacity=".55" />
      <circle cx="16" cy="8.6" r="3.6" fill="#60a5fa" />
      <circle cx="9" cy="22" r="3.6" fill="#4ade80" />
      <circle cx="23" cy="22" r="3.6" fill="#c084fc" />
    </svg>
  );
}

export function Wordmark() {
  return (
    <span className="text-lg font-bold tracking-tight">
      Autonom<span className="text-accent-strong">OS</span>
    </span>
  );
}
