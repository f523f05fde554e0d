// How numbers, times and names are written, everywhere the same.

const integer = new Intl.NumberFormat("en");
const decimal = new Intl.NumberFormat("en", { maximumFractionDigits: 6 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });

export const count = (value: number | null | undefined) =>
  value === null || value === undefined ? "–" : integer.format(value);
export const shortCount = (value: number) =>
  value < 10_000 ? integer.format(value) : compact.format(value);

/** `1 stream`, `2 streams`. */
export const many = (value: number, one: string, more = `${one}s`) =>
  `${count(value)} ${value === 1 ? one : more}`;

export function bytes(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (value < 1000) return `${value} B`;
  const units = ["kB", "MB", "GB", "TB"];
  let scaled = value / 1000;
  let unit = 0;
  while (scaled >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${units[unit]}`;
}

export const percent = (value: number | null | undefined) => {
  if (value === null || value === undefined) return "–";
  // 0.995 is not 100 %: never round a doubt away.
  const scaled = Math.floor(value * 1000) / 10;
  return `${Number.isInteger(scaled) ? scaled : scaled.toFixed(1)}\u00a0%`;
};

export function duration(milliseconds: number): string {
  const seconds = Math.round(milliseconds / 1000);
  if (milliseconds < 950) return `${Math.max(0, Math.round(milliseconds))} ms`;
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${seconds % 60} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} days`;
}

export function ago(time: Date, now: number): string {
  const seconds = Math.round((now - time.getTime()) / 1000);
  if (seconds < -5) return `in ${duration(-seconds * 1000)}`;
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 86_400 * 14) return `${Math.floor(seconds / 86_400)} d ago`;
  return time.toLocaleDateString("en", { year: "numeric", month: "short", day: "numeric" });
}

export const dateTime = (time: Date) =>
  time.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" });

/** `annual_revenue` → `Annual revenue`, `SyncStarted` → `Sync started`. */
export function humanize(name: string): string {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/[_-]+/g, " ")
    .trim()
    .toLowerCase();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** A description as a sentence begins. */
export const capital = (text: string | undefined) =>
  text ? text.charAt(0).toUpperCase() + text.slice(1) : undefined;

const KIND_TEXT: Record<string, string> = {
  field_added: "Field added",
  field_removed: "Field removed",
  field_renamed: "Field renamed",
  fields_swapped: "Fields swapped",
  type_widened: "Type widened",
  type_narrowed: "Type narrowed",
  enum_changed: "Values changed",
};
export const driftKind = (kind: string) => KIND_TEXT[kind] ?? humanize(kind);

const TIME = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d/;

/** A cell's value as text for people; `null` is told apart from an empty text. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return decimal.format(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "string") {
    if (TIME.test(value))
      return value
        .replace("T", " ")
        .replace(/(\.\d+)?(Z|\+00:00)$/, "")
        .replace(/ 00:00:00$/, "");
    return value;
  }
  return JSON.stringify(value);
}

export const shortId = (id: string) => id.slice(0, 8);
