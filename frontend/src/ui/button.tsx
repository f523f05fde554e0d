import { LoaderCircle } from "lucide-react";
import { forwardRef, type ButtonHTMLAttributes } from "react";
import { cx } from "./cx";

export type ButtonVariant = "primary" | "secondary" | "ghost" | "danger";

const VARIANTS: Record<ButtonVariant, string> = {
  primary:
    "bg-accent text-white shadow-sm hover:bg-[color-mix(in_oklab,var(--accent),black_14%)] edge-when-forced",
  secondary: "bg-surface text-ink border border-line hover:bg-hover hover:border-control",
  ghost: "text-ink hover:bg-hover",
  danger: "bg-surface text-danger border border-line hover:bg-danger-soft hover:border-danger",
};

export function buttonClass(variant: ButtonVariant = "secondary", small = false, icon = false) {
  return cx(
    "inline-flex shrink-0 items-center justify-center gap-2 rounded-xl font-semibold whitespace-nowrap select-none",
    "transition-colors duration-100 disabled:opacity-60 aria-disabled:opacity-60",
    small
      ? "min-h-11 text-sm md:pointer-fine:min-h-8 md:pointer-fine:rounded-lg"
      : "control-height text-[0.9375rem]",
    icon
      ? small
        ? "min-w-11 md:pointer-fine:min-w-8"
        : "min-w-11 md:pointer-fine:min-w-10"
      : small
        ? "px-3"
        : "px-4",
    VARIANTS[variant],
  );
}

interface Props extends ButtonHTMLAttributes<HTMLButtonElement> {
  variant?: ButtonVariant;
  small?: boolean;
  icon?: boolean;
  busy?: boolean;
}

/** `busy` keeps the label and the size, and refuses a second click. */
export const Button = forwardRef<HTMLButtonElement, Props>(function Button(
  { variant, small, icon, busy, className, children, disabled, type = "button", ...rest },
  ref,
) {
  return (
    <button
      ref={ref}
      type={type}
      className={cx(buttonClass(variant, small, icon), className)}
      disabled={disabled || busy}
      aria-busy={busy || undefined}
      {...rest}
    >
      {busy ? <LoaderCircle aria-hidden className="size-4 animate-spin" /> : null}
      {busy && icon ? null : children}
    </button>
  );
});
