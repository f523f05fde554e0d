// How a mapping's transform reads and how it is edited.

import type { Transform } from "@/api/types";

export interface TransformKind {
  op: string;
  label: string;
  /** Text parameters, with an example each. */
  parameters: { name: string; label: string; example: string; number?: boolean }[];
  /** What can't be edited as plain text keeps its parameters as they are. */
  structured?: boolean;
}

export const TRANSFORMS: TransformKind[] = [
  { op: "copy", label: "As it is", parameters: [] },
  {
    op: "parse_time",
    label: "Date or time in a format",
    parameters: [{ name: "format", label: "Format", example: "%d/%m/%Y" }],
  },
  {
    op: "parse_epoch",
    label: "Seconds or milliseconds since 1970",
    parameters: [{ name: "unit", label: "Unit", example: "seconds" }],
  },
  { op: "parse_excel_serial", label: "Excel serial date", parameters: [] },
  { op: "parse_decimal_comma", label: "Decimal comma", parameters: [] },
  {
    op: "scale",
    label: "Multiply",
    parameters: [{ name: "factor", label: "By", example: "0.01" }],
  },
  { op: "extract_domain", label: "Host of a URL or e-mail", parameters: [] },
  {
    op: "split_part",
    label: "Part of a text",
    parameters: [
      { name: "separator", label: "Split at", example: "," },
      { name: "index", label: "Part, from 0", example: "0", number: true },
    ],
  },
  {
    op: "join",
    label: "Columns joined",
    parameters: [{ name: "separator", label: "With", example: " " }],
  },
  {
    op: "json_path",
    label: "Value inside JSON",
    parameters: [{ name: "path", label: "Path", example: "$.a.b" }],
  },
  { op: "map_values", label: "Codes replaced by values", parameters: [], structured: true },
  { op: "parse_boolean", label: "Yes and no", parameters: [], structured: true },
  { op: "chain", label: "Several steps", parameters: [], structured: true },
];

const kindOf = (op: string) => TRANSFORMS.find((kind) => kind.op === op);

/** One line a person can read. */
export function transformText(transform: Transform | null | undefined): string {
  if (!transform) return "as it is";
  const kind = kindOf(transform.op);
  switch (transform.op) {
    case "copy":
      return "as it is";
    case "scale":
      return `× ${String(transform.factor)}`;
    case "map_values": {
      const values = Object.entries((transform.values as Record<string, string> | undefined) ?? {});
      const shown = values.slice(0, 3).map(([from, to]) => `${from} → ${to}`);
      return `${shown.join(", ")}${values.length > 3 ? ` and ${values.length - 3} more` : ""}`;
    }
    case "chain":
      return ((transform.steps as Transform[] | undefined) ?? [])
        .map(transformText)
        .join(", then ");
    default: {
      const details = (kind?.parameters ?? [])
        .map((parameter) => String(transform[parameter.name] ?? ""))
        .filter(Boolean);
      const label = (kind?.label ?? transform.op.replace(/_/g, " ")).toLowerCase();
      return details.length ? `${label} ${details.join(" ")}` : label;
    }
  }
}
