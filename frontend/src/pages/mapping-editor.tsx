// A mapping as a list of lines: column → field, how, how sure. Read, and edited in place.

import { ArrowRight, Plus, Trash2 } from "lucide-react";
import { useId } from "react";
import type { MappingContent, MappingField, OntologyEntity, Transform } from "@/api/types";
import { humanize, percent } from "@/lib/format";
import { TRANSFORMS, transformText } from "@/lib/transform";
import { Button } from "@/ui/button";
import { Badge, type Tone } from "@/ui/display";
import { Field, Input, Select } from "@/ui/form";

const ORIGIN: Record<string, [Tone, string]> = {
  human: ["entity", "by a person"],
  matcher: ["agent", "by matching"],
  retrieval: ["agent", "from past decisions"],
  llm: ["agent", "by a language model"],
};

/** What found a line or a change. */
export function Origin({ of }: { of: string }) {
  const [tone, text] = ORIGIN[of] ?? ["neutral" as Tone, of];
  return <Badge tone={tone}>{text}</Badge>;
}

export function MappingLines({ mapping }: { mapping: MappingContent }) {
  if (mapping.fields.length === 0)
    return (
      <p className="px-4 py-6 text-sm text-muted md:px-6">
        No column is mapped; the stream stays raw and queryable.
      </p>
    );
  return (
    <ul>
      {mapping.fields.map((field, index) => {
        return (
          <li
            key={index}
            className="grid gap-x-4 gap-y-1 border-t border-line px-4 py-3 text-sm md:grid-cols-[minmax(0,1fr)_minmax(0,1fr)_minmax(0,1fr)_auto] md:items-center md:px-6"
          >
            <span className="font-bold break-all text-source">
              {[field.source, ...(field.also ?? [])].join(" + ")}
            </span>
            <span className="flex items-center gap-2 font-bold break-all text-entity">
              <ArrowRight aria-label="to" className="size-4 shrink-0 text-muted" />
              {humanize(field.target)}
            </span>
            <span className="break-words text-muted">{transformText(field.transform)}</span>
            <span className="flex items-center gap-3 md:justify-end">
              <Origin of={field.origin} />
              <span className="data" title={field.evidence?.map((one) => one.detail).join("\n")}>
                {percent(field.confidence)}
              </span>
            </span>
          </li>
        );
      })}
    </ul>
  );
}

interface Props {
  value: MappingContent;
  onChange: (value: MappingContent) => void;
  entities: OntologyEntity[];
  columns: string[];
}

export function MappingEditor({ value, onChange, entities, columns }: Props) {
  const listId = useId();
  const entity = entities.find((one) => one.name === value.entity);
  const targets = entity?.fields.map((field) => field.name) ?? [
    ...new Set(value.fields.map((field) => field.target)),
  ];
  const setField = (index: number, change: Partial<MappingField>) =>
    onChange({
      ...value,
      fields: value.fields.map((field, at) =>
        at === index ? { ...field, ...change, origin: "human", confidence: 1 } : field,
      ),
    });
  const free = targets.filter((target) => !value.fields.some((field) => field.target === target));
  return (
    <div className="flex flex-col gap-4">
      <datalist id={listId}>
        {columns.map((column) => (
          <option key={column} value={column} />
        ))}
      </datalist>
      <div className="grid gap-3 sm:grid-cols-2">
        <Field label="Entity">
          {(control) => (
            <Select
              {...control}
              value={value.entity ?? ""}
              onChange={(event) => onChange({ ...value, entity: event.target.value || null })}
            >
              <option value="">None: keep it raw</option>
              {[
                ...new Set([
                  ...(value.entity ? [value.entity] : []),
                  ...entities.map((one) => one.name),
                ]),
              ].map((name) => (
                <option key={name} value={name}>
                  {humanize(name)}
                </option>
              ))}
            </Select>
          )}
        </Field>
        <Field label="Key columns">
          {(control) => (
            <Input
              {...control}
              list={listId}
              defaultValue={value.key.join(", ")}
              placeholder="none: the whole row"
              onChange={(event) =>
                onChange({
                  ...value,
                  key: event.target.value
                    .split(",")
                    .map((name) => name.trim())
                    .filter(Boolean),
                })
              }
            />
          )}
        </Field>
      </div>
      <ul className="flex flex-col gap-3">
        {value.fields.map((field, index) => (
          <li key={index} className="rounded-xl border border-line p-3">
            <div className="grid items-center gap-2 sm:grid-cols-[minmax(0,1fr)_auto_minmax(0,1fr)_auto]">
              <Input
                aria-label={`Column of line ${index + 1}`}
                list={listId}
                required
                value={field.source}
                onChange={(event) => setField(index, { source: event.target.value })}
              />
              <ArrowRight aria-label="to" className="hidden size-4 text-muted sm:block" />
              <Select
                aria-label={`Field of line ${index + 1}`}
                value={field.target}
                onChange={(event) => setField(index, { target: event.target.value })}
              >
                {[...new Set([field.target, ...targets])].map((target) => (
                  <option key={target} value={target}>
                    {humanize(target)}
                  </option>
                ))}
              </Select>
              <Button
                icon
                variant="ghost"
                aria-label={`Remove line ${index + 1}`}
                onClick={() =>
                  onChange({ ...value, fields: value.fields.filter((_, at) => at !== index) })
                }
              >
                <Trash2 aria-hidden className="size-4" />
              </Button>
            </div>
            <TransformEditor
              line={index + 1}
              value={field.transform}
              onChange={(transform) => setField(index, { transform })}
            />
          </li>
        ))}
      </ul>
      <Button
        className="self-start"
        disabled={free.length === 0}
        onClick={() =>
          onChange({
            ...value,
            fields: [
              ...value.fields,
              {
                source: "",
                target: free[0] ?? "",
                transform: { op: "copy" },
                confidence: 1,
                origin: "human",
                evidence: [],
              },
            ],
          })
        }
      >
        <Plus aria-hidden className="size-4" /> Add a line
      </Button>
    </div>
  );
}

function TransformEditor({
  line,
  value,
  onChange,
}: {
  line: number;
  value: Transform;
  onChange: (value: Transform) => void;
}) {
  const kind = TRANSFORMS.find((one) => one.op === value.op);
  return (
    <div className="mt-2 flex flex-wrap items-center gap-2">
      <Select
        aria-label={`Transform of line ${line}`}
        className="!w-auto max-w-full"
        value={value.op}
        onChange={(event) => {
          const next = TRANSFORMS.find((one) => one.op === event.target.value);
          if (!next || next.op === value.op) return;
          onChange({
            op: next.op,
            ...Object.fromEntries(
              next.parameters.map((parameter) => [
                parameter.name,
                parameter.number ? Number(parameter.example) : parameter.example,
              ]),
            ),
          });
        }}
      >
        {TRANSFORMS.filter((one) => !one.structured || one.op === value.op).map((one) => (
          <option key={one.op} value={one.op}>
            {one.label}
          </option>
        ))}
      </Select>
      {kind?.structured ? <span className="text-sm text-muted">{transformText(value)}</span> : null}
      {kind?.parameters.map((parameter) => (
        <label key={parameter.name} className="flex items-center gap-2 text-sm text-muted">
          {parameter.label}
          <Input
            className="!w-32"
            type={parameter.number ? "number" : "text"}
            value={String(value[parameter.name] ?? "")}
            placeholder={parameter.example}
            onChange={(event) =>
              onChange({
                ...value,
                [parameter.name]: parameter.number
                  ? Number(event.target.value)
                  : event.target.value,
              })
            }
          />
        </label>
      ))}
    </div>
  );
}
