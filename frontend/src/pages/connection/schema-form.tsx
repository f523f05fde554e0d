// A form drawn from a connector's JSON Schema: the one description that the API checks by, too.

import type { ReactNode } from "react";
import type { JsonSchema } from "@/api/types";
import { humanize } from "@/lib/format";
import { Check, Field, Input, Select } from "@/ui/form";
import { Disclosure } from "@/ui/page";

export type Values = Record<string, unknown>;

interface Props {
  schema: JsonSchema;
  value: Values;
  onChange: (value: Values) => void;
  /** The message for a field at this JSON pointer. */
  errorAt: (pointer: string) => string | undefined;
  pointer?: string;
  /** Draws a property in another way than its schema alone would. */
  custom?: (name: string, schema: JsonSchema) => ReactNode | undefined;
}

const typeOf = (schema: JsonSchema) =>
  Array.isArray(schema.type)
    ? (schema.type.find((type) => type !== "null") ?? "string")
    : schema.type;

/** `const` of the property that tells the variants of a `oneOf` apart. */
function variantOf(variants: JsonSchema[], value: Values): number {
  const found = variants.findIndex((variant) =>
    Object.entries(variant.properties ?? {}).some(
      ([name, property]) => property.const !== undefined && property.const === value[name],
    ),
  );
  return Math.max(0, found);
}

const constants = (variant: JsonSchema | undefined): Values =>
  Object.fromEntries(
    Object.entries(variant?.properties ?? {})
      .filter(([, property]) => property.const !== undefined)
      .map(([name, property]) => [name, property.const]),
  );

export function SchemaForm({ schema, value, onChange, errorAt, pointer = "", custom }: Props) {
  const variants = schema.oneOf?.filter((variant) => variant.properties) ?? [];
  const chosen = variantOf(variants, value);
  const variant = variants[chosen];
  const properties = { ...schema.properties, ...variant?.properties };
  const required = new Set([...(schema.required ?? []), ...(variant?.required ?? [])]);
  const order = [...(schema["x-order"] ?? []), ...(variant?.["x-order"] ?? [])];
  const placeOf = (name: string) => (order.includes(name) ? order.indexOf(name) : order.length);
  const entries = Object.entries(properties)
    .filter(([, property]) => property.const === undefined)
    .sort(([left], [right]) => placeOf(left) - placeOf(right));
  const set = (name: string, next: unknown) => {
    // What tells the variants apart is said with the first field, though nobody chose it.
    const rest = { ...constants(variant), ...value };
    if (next === undefined || next === "") delete rest[name];
    else rest[name] = next;
    onChange(rest);
  };
  const first = entries.filter(([name]) => required.has(name));
  const later = entries.filter(([name]) => !required.has(name));
  const property = ([name, property]: [string, JsonSchema]) =>
    custom?.(name, property) ?? (
      <Property
        key={name}
        name={name}
        schema={property}
        required={required.has(name)}
        value={value[name]}
        onChange={(next) => set(name, next)}
        errorAt={errorAt}
        pointer={`${pointer}/${name}`}
      />
    );
  return (
    <div className="flex flex-col gap-5">
      {variants.length > 1 ? (
        <Field label={schema.title ?? "Way to connect"}>
          {(control) => (
            <Select
              {...control}
              value={chosen}
              onChange={(event) => {
                const next = variants[Number(event.target.value)];
                // What only the other ways know does not go along.
                const kept = Object.entries(value).filter(
                  ([name]) =>
                    schema.properties?.[name] ??
                    next?.properties?.[name] ??
                    !variant?.properties?.[name],
                );
                onChange({ ...Object.fromEntries(kept), ...constants(next) });
              }}
            >
              {variants.map((option, index) => (
                <option key={index} value={index}>
                  {option.title ?? `Way ${index + 1}`}
                </option>
              ))}
            </Select>
          )}
        </Field>
      ) : null}
      {first.map(property)}
      {later.length > 3 ? (
        <Disclosure
          className="rounded-xl border border-line px-3"
          summary="More options, detected when left empty"
        >
          <div className="flex flex-col gap-5 pt-2 pb-5">{later.map(property)}</div>
        </Disclosure>
      ) : (
        later.map(property)
      )}
    </div>
  );
}

function Property({
  name,
  schema,
  required,
  value,
  onChange,
  errorAt,
  pointer,
}: {
  name: string;
  schema: JsonSchema;
  required: boolean;
  value: unknown;
  onChange: (value: unknown) => void;
  errorAt: (pointer: string) => string | undefined;
  pointer: string;
}) {
  const label = schema.title ?? humanize(name);
  const type = typeOf(schema);
  const error = errorAt(pointer);
  const options =
    schema.enum ??
    schema.oneOf?.map((option) => option.const).filter((option) => option !== undefined);

  if (schema.properties || (type === "object" && schema.oneOf)) {
    return (
      <fieldset className="rounded-xl border border-line p-4">
        <legend className="px-1 text-sm font-bold">{label}</legend>
        <SchemaForm
          schema={schema}
          value={(value as Values | undefined) ?? {}}
          onChange={onChange}
          errorAt={errorAt}
          pointer={pointer}
        />
      </fieldset>
    );
  }
  if (type === "boolean" && schema.default !== undefined) {
    return (
      <div>
        <Check
          label={label}
          checked={Boolean(value ?? schema.default)}
          onChange={(event) => onChange(event.target.checked)}
        />
        {schema.description ? <p className="text-xs text-muted">{schema.description}</p> : null}
      </div>
    );
  }
  if (type === "boolean") {
    return (
      <Field label={label} hint={schema.description} error={error} optional={!required}>
        {(control) => (
          <Select
            {...control}
            value={value === undefined ? "" : String(value)}
            onChange={(event) =>
              onChange(event.target.value === "" ? undefined : event.target.value === "true")
            }
          >
            <option value="">Detect</option>
            <option value="true">Yes</option>
            <option value="false">No</option>
          </Select>
        )}
      </Field>
    );
  }
  if (type === "array") {
    const list = (values: unknown) => (Array.isArray(values) ? values.join(", ") : "");
    return (
      <Field
        label={label}
        hint={`${schema.description ?? ""} Separated by commas.`.trim()}
        error={error}
        optional={!required}
      >
        {(control) => (
          <Input
            {...control}
            required={required}
            autoComplete="off"
            defaultValue={list(value)}
            placeholder={list(schema.examples?.[0])}
            onChange={(event) =>
              onChange(
                event.target.value.trim() === ""
                  ? undefined
                  : event.target.value.split(",").map((part) => part.trim()),
              )
            }
          />
        )}
      </Field>
    );
  }
  const example = schema.examples?.[0] ?? schema.default;
  return (
    <Field label={label} hint={schema.description} error={error} optional={!required}>
      {(control) =>
        options?.length ? (
          <Select
            {...control}
            required={required}
            value={String(value ?? "")}
            onChange={(event) => onChange(event.target.value)}
          >
            <option value="">
              {schema.default === undefined ? "Detect" : `Default (${String(schema.default)})`}
            </option>
            {options.map((option) => (
              <option key={String(option)} value={String(option)}>
                {String(option)}
              </option>
            ))}
          </Select>
        ) : (
          <Input
            {...control}
            required={required}
            type={
              schema.writeOnly || schema.format === "password"
                ? "password"
                : type === "integer" || type === "number"
                  ? "number"
                  : schema.format === "uri"
                    ? "url"
                    : "text"
            }
            autoComplete={schema.writeOnly ? "new-password" : "off"}
            step={type === "integer" ? 1 : "any"}
            min={schema.minimum}
            max={schema.maximum}
            minLength={schema.minLength}
            maxLength={schema.maxLength}
            pattern={schema.pattern}
            placeholder={example === undefined ? undefined : String(example)}
            value={value === undefined || value === null ? "" : String(value)}
            onChange={(event) =>
              onChange(
                (type === "integer" || type === "number") && event.target.value !== ""
                  ? Number(event.target.value)
                  : event.target.value,
              )
            }
          />
        )
      }
    </Field>
  );
}
