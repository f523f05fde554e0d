import type { SchemaVersion } from "@/api/types";

interface Difference {
  added: string[];
  removed: string[];
  changed: string[];
}

/** What a version has that the one before it had not, by field name. */
export function differenceOf(
  before: SchemaVersion | undefined,
  after: SchemaVersion,
): Difference | null {
  if (!before) return null;
  const old = new Map(before.fields.map((field) => [field.name, field]));
  const now = new Map(after.fields.map((field) => [field.name, field]));
  return {
    added: [...now.keys()].filter((name) => !old.has(name)),
    removed: [...old.keys()].filter((name) => !now.has(name)),
    changed: [...now.values()]
      .filter((field) => {
        const past = old.get(field.name);
        return (
          past &&
          (past.type !== field.type ||
            past.nullable !== field.nullable ||
            past.format !== field.format)
        );
      })
      .map((field) => field.name),
  };
}
