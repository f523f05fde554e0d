// Rules about repairs for a connection, an entity or a field: thresholds, protected fields, and what a
// connection's drift leads to. The most specific rule that says something wins.

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type { DriftPolicy, Policies as Stored, RepairRule } from "@/api/types";
import { humanize, many } from "@/lib/format";
import { Button } from "@/ui/button";
import { Card, CardHead, SkeletonRows } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Field, Input, Select } from "@/ui/form";

const ON_DRIFT: Record<DriftPolicy, string> = {
  repair: "Repair: what is sure, and ask",
  propagate: "Propagate: follow the source",
  hold: "Hold: apply and ask nothing",
  pause: "Pause: read on once decided",
};

export function Policies() {
  const policies = useQuery(q.policies());
  return (
    <Card aria-labelledby="policies">
      <CardHead
        title="Where it differs"
        id="policies"
        hint="A field goes before an entity, an entity before a connection, a connection before everything"
      />
      {policies.isPending ? (
        <SkeletonRows rows={2} />
      ) : policies.isError ? (
        <ErrorState error={policies.error} retry={() => void policies.refetch()} />
      ) : (
        <Form key={policies.data.version} stored={policies.data} />
      )}
    </Card>
  );
}

function Form({ stored }: { stored: Stored }) {
  const client = useQueryClient();
  const connections = useQuery(q.connections());
  const ontology = useQuery(q.ontology());
  const [rules, setRules] = useState(stored.rules);
  const [expiry, setExpiry] = useState(stored.expire_after_days?.toString() ?? "");
  const wanted: Stored = {
    version: stored.version,
    rules,
    expire_after_days: expiry === "" ? null : Number(expiry),
  };
  const dirty = JSON.stringify(wanted) !== JSON.stringify(stored);
  const save = useMutation({
    mutationFn: () => calls.policies.set(wanted),
    onSuccess: (saved) => {
      client.setQueryData(q.policies().queryKey, saved);
      toast.success("Policies saved");
    },
    onError: (error) =>
      toast.error("The policies were not saved", { description: errorText(error) }),
  });
  const change = (at: number, part: Partial<RepairRule>) =>
    setRules(rules.map((rule, index) => (index === at ? plain({ ...rule, ...part }) : rule)));
  return (
    <form
      className="flex flex-col gap-4 p-4 md:p-6"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      {rules.length === 0 ? (
        <p className="text-sm text-muted">
          The same policy holds for every connection, entity and field. Fields that the ontology
          protects are never repaired without a person.
        </p>
      ) : null}
      <ul aria-label="Rules" className="flex flex-col gap-4">
        {rules.map((rule, index) => (
          <li key={index}>
            <fieldset className="rounded-xl border border-line p-4">
              <legend className="px-1 text-sm font-bold">Rule {index + 1}</legend>
              <div className="grid gap-3 sm:grid-cols-2 lg:grid-cols-3">
                <Field label="Connection">
                  {(control) => (
                    <Select
                      {...control}
                      value={rule.connection_id ?? ""}
                      onChange={(event) => change(index, { connection_id: event.target.value })}
                    >
                      <option value="">All connections</option>
                      {connections.data?.map((one) => (
                        <option key={one.id} value={one.id}>
                          {one.name}
                        </option>
                      ))}
                    </Select>
                  )}
                </Field>
                <Field label="Entity">
                  {(control) => (
                    <Select
                      {...control}
                      value={rule.entity ?? ""}
                      onChange={(event) =>
                        change(index, {
                          entity: event.target.value,
                          field: "",
                          ...(event.target.value ? { on_drift: undefined } : {}),
                        })
                      }
                    >
                      <option value="">All entities</option>
                      {ontology.data?.entities.map((one) => (
                        <option key={one.name} value={one.name}>
                          {humanize(one.name)}
                        </option>
                      ))}
                    </Select>
                  )}
                </Field>
                <Field label="Field">
                  {(control) => (
                    <Select
                      {...control}
                      disabled={!rule.entity}
                      value={rule.field ?? ""}
                      onChange={(event) => change(index, { field: event.target.value })}
                    >
                      <option value="">All fields</option>
                      {ontology.data?.entities
                        .find((one) => one.name === rule.entity)
                        ?.fields.map((one) => (
                          <option key={one.name} value={one.name}>
                            {humanize(one.name)}
                          </option>
                        ))}
                    </Select>
                  )}
                </Field>
                <Threshold
                  label="Applied by itself from, in %"
                  least={85}
                  value={rule.automatic_from}
                  onChange={(automatic_from) => change(index, { automatic_from })}
                />
                <Threshold
                  label="Asked about from, in %"
                  least={0}
                  value={rule.ask_from}
                  onChange={(ask_from) => change(index, { ask_from })}
                />
                <Field label="Never without a person">
                  {(control) => (
                    <Select
                      {...control}
                      value={rule.protected === undefined ? "" : String(rule.protected)}
                      onChange={(event) =>
                        change(index, {
                          protected:
                            event.target.value === "" ? undefined : event.target.value === "true",
                        })
                      }
                    >
                      <option value="">As elsewhere</option>
                      <option value="true">Protected</option>
                      <option value="false">Not protected</option>
                    </Select>
                  )}
                </Field>
                <Field label="When it drifts">
                  {(control) => (
                    <Select
                      {...control}
                      disabled={Boolean(rule.entity)}
                      value={rule.on_drift ?? ""}
                      onChange={(event) =>
                        change(index, {
                          on_drift: (event.target.value || undefined) as DriftPolicy | undefined,
                        })
                      }
                    >
                      <option value="">As elsewhere</option>
                      {Object.entries(ON_DRIFT).map(([value, label]) => (
                        <option key={value} value={value}>
                          {label}
                        </option>
                      ))}
                    </Select>
                  )}
                </Field>
              </div>
              <div className="mt-3 flex justify-end">
                <Button
                  small
                  variant="ghost"
                  aria-label={`Remove rule ${index + 1}`}
                  onClick={() => setRules(rules.filter((_, other) => other !== index))}
                >
                  <Trash2 aria-hidden className="size-4" /> Remove
                </Button>
              </div>
            </fieldset>
          </li>
        ))}
      </ul>
      <div className="flex flex-wrap items-end justify-between gap-4">
        <Button onClick={() => setRules([...rules, {}])}>
          <Plus aria-hidden className="size-4" /> Add a rule
        </Button>
        <div className="w-full sm:w-72">
          <Field
            label="Proposals expire after, in days"
            optional
            hint="Of those made from then on; empty: never"
          >
            {(control) => (
              <Input
                {...control}
                type="number"
                min={1}
                max={365}
                value={expiry}
                onChange={(event) => setExpiry(event.target.value)}
              />
            )}
          </Field>
        </div>
      </div>
      {save.isError ? (
        <p role="alert" className="text-sm font-semibold text-danger">
          {errorText(save.error)}
        </p>
      ) : null}
      <div className="flex flex-wrap items-center justify-end gap-2">
        <p className="mr-auto text-sm text-muted">{many(rules.length, "rule")}</p>
        <Button
          disabled={!dirty}
          onClick={() => {
            setRules(stored.rules);
            setExpiry(stored.expire_after_days?.toString() ?? "");
          }}
        >
          Discard
        </Button>
        <Button type="submit" variant="primary" disabled={!dirty} busy={save.isPending}>
          Save policies
        </Button>
      </div>
    </form>
  );
}

/** Without what says nothing, so that equal rules are equal. */
function plain(rule: RepairRule): RepairRule {
  return Object.fromEntries(
    Object.entries(rule).filter(([, value]) => value !== undefined && value !== ""),
  );
}

function Threshold({
  label,
  least,
  value,
  onChange,
}: {
  label: string;
  least: number;
  value: number | undefined;
  onChange: (value: number | undefined) => void;
}) {
  return (
    <Field label={label}>
      {(control) => (
        <Input
          {...control}
          type="number"
          min={least}
          max={100}
          step={0.5}
          placeholder="as elsewhere"
          value={value === undefined ? "" : Math.round(value * 1000) / 10}
          onChange={(event) =>
            onChange(event.target.value === "" ? undefined : Number(event.target.value) / 100)
          }
        />
      )}
    </Field>
  );
}
