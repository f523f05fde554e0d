import { Search, X } from "lucide-react";
import {
  forwardRef,
  useId,
  type InputHTMLAttributes,
  type ReactNode,
  type SelectHTMLAttributes,
  type TextareaHTMLAttributes,
} from "react";
import { cx } from "./cx";

const CONTROL =
  "control-height w-full rounded-xl border border-control bg-surface px-3 text-ink placeholder:text-muted " +
  "aria-invalid:border-danger disabled:opacity-60 transition-colors duration-100 hover:border-muted";

export const Input = forwardRef<HTMLInputElement, InputHTMLAttributes<HTMLInputElement>>(
  function Input({ className, ...rest }, ref) {
    return <input ref={ref} className={cx(CONTROL, className)} {...rest} />;
  },
);

export const Textarea = forwardRef<
  HTMLTextAreaElement,
  TextareaHTMLAttributes<HTMLTextAreaElement>
>(function Textarea({ className, ...rest }, ref) {
  return <textarea ref={ref} className={cx(CONTROL, "py-2", className)} {...rest} />;
});

export const Select = forwardRef<HTMLSelectElement, SelectHTMLAttributes<HTMLSelectElement>>(
  function Select({ className, ...rest }, ref) {
    return <select ref={ref} className={cx(CONTROL, "pr-8", className)} {...rest} />;
  },
);

interface FieldProps {
  label: ReactNode;
  hint?: ReactNode;
  error?: string;
  optional?: boolean;
  children: (control: {
    id: string;
    "aria-describedby"?: string;
    "aria-invalid"?: true;
    required?: boolean;
  }) => ReactNode;
}

/** A label, its control, a hint and the error, tied together for assistive technology. */
export function Field({ label, hint, error, optional, children }: FieldProps) {
  const id = useId();
  const described = [hint && `${id}-hint`, error && `${id}-error`].filter(Boolean).join(" ");
  return (
    <div className="flex flex-col gap-1.5">
      <label
        htmlFor={id}
        className="flex items-baseline justify-between gap-2 text-sm font-semibold"
      >
        {label}
        {optional ? <span className="text-xs font-medium text-muted">optional</span> : null}
      </label>
      {children({
        id,
        "aria-describedby": described || undefined,
        "aria-invalid": error ? true : undefined,
      })}
      {hint ? (
        <p id={`${id}-hint`} className="text-xs text-muted">
          {hint}
        </p>
      ) : null}
      {error ? (
        <p id={`${id}-error`} className="text-sm font-semibold text-danger">
          {error}
        </p>
      ) : null}
    </div>
  );
}

interface CheckProps extends Omit<InputHTMLAttributes<HTMLInputElement>, "type"> {
  label: ReactNode;
  hideLabel?: boolean;
}

export function Check({ label, hideLabel, className, ...rest }: CheckProps) {
  return (
    <label
      className={cx(
        "inline-flex min-h-11 cursor-pointer items-center gap-3 md:pointer-fine:min-h-8",
        hideLabel && "min-w-11 justify-center md:pointer-fine:min-w-8",
        className,
      )}
    >
      <input type="checkbox" className="size-[1.125rem] shrink-0 accent-accent" {...rest} />
      <span className={hideLabel ? "sr-only" : undefined}>{label}</span>
    </label>
  );
}

interface SearchProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  placeholder?: string;
  className?: string;
}

/** `/` puts the cursor into the page's search. */
export function SearchBox({ label, value, onChange, placeholder, className }: SearchProps) {
  return (
    <div className={cx("relative", className)}>
      <Search
        aria-hidden
        className="pointer-events-none absolute top-1/2 left-3 size-4 -translate-y-1/2 text-muted"
      />
      <input
        type="text"
        role="searchbox"
        aria-label={label}
        data-page-search
        autoComplete="off"
        spellCheck={false}
        placeholder={placeholder ?? label}
        value={value}
        onChange={(event) => onChange(event.target.value)}
        onKeyDown={(event) => {
          if (event.key !== "Escape") return;
          if (value) onChange("");
          else event.currentTarget.blur();
        }}
        className={cx(CONTROL, "pr-10 pl-9")}
      />
      {value ? (
        <button
          type="button"
          aria-label="Clear search"
          onClick={() => onChange("")}
          className="absolute top-1/2 right-0 grid size-11 -translate-y-1/2 place-items-center rounded-xl text-muted hover:text-ink md:pointer-fine:size-10"
        >
          <X aria-hidden className="size-4" />
        </button>
      ) : null}
    </div>
  );
}

interface SegmentsProps<T extends string> {
  label: string;
  value: T;
  options: { value: T; label: ReactNode; hint?: string }[];
  onChange: (value: T) => void;
  className?: string;
}

/** A few exclusive choices side by side. */
export function Segments<T extends string>({
  label,
  value,
  options,
  onChange,
  className,
}: SegmentsProps<T>) {
  return (
    <div
      role="radiogroup"
      aria-label={label}
      className={cx(
        "no-bar inline-flex max-w-full gap-1 overflow-x-auto rounded-xl bg-sunken p-1 md:flex-wrap",
        className,
      )}
    >
      {options.map((option, index) => (
        <button
          key={option.value}
          type="button"
          role="radio"
          aria-checked={option.value === value}
          tabIndex={option.value === value ? 0 : -1}
          onClick={() => onChange(option.value)}
          onKeyDown={(event) => {
            const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
            if (!step) return;
            event.preventDefault();
            const next = (index + step + options.length) % options.length;
            const chosen = options[next];
            if (chosen) onChange(chosen.value);
            const buttons = event.currentTarget.parentElement?.querySelectorAll("button");
            buttons?.[next]?.focus();
          }}
          className={cx(
            "min-h-11 shrink-0 rounded-lg px-3 text-sm font-semibold -outline-offset-2 transition-colors md:pointer-fine:min-h-8",
            option.value === value
              ? "bg-surface text-ink shadow-sm edge-when-forced"
              : "text-muted hover:text-ink",
          )}
        >
          {option.label}
        </button>
      ))}
    </div>
  );
}
