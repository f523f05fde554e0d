import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Sparkles } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type { LlmSettings, LlmState, LlmUsageDay } from "@/api/types";
import { count, duration, humanize, many } from "@/lib/format";
import { Button } from "@/ui/button";
import { Card, CardHead, Empty, Facts, SkeletonRows } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Check, Field, Input } from "@/ui/form";
import { TableFrame, TD, TH } from "@/ui/page";

const money = (value: number) =>
  value.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 4 });

export function Models() {
  const settings = useQuery(q.llmSettings());
  return (
    <div className="flex max-w-4xl flex-col gap-4 md:gap-6">
      <Card aria-labelledby="models">
        <CardHead
          title="Language models"
          id="models"
          hint="Asked about what neither the matcher nor past decisions answer; a person decides"
        />
        {settings.isPending ? (
          <SkeletonRows rows={3} />
        ) : settings.isError ? (
          <ErrorState error={settings.error} retry={() => void settings.refetch()} />
        ) : (
          <SettingsForm stored={settings.data} />
        )}
      </Card>
      <Usage />
    </div>
  );
}

function SettingsForm({ stored }: { stored: LlmState }) {
  const client = useQueryClient();
  const { allowed, raw_values, tokens_per_month, cost_per_month } = stored;
  const known: LlmSettings = { allowed, raw_values, tokens_per_month, cost_per_month };
  const [value, setValue] = useState(known);
  const save = useMutation({
    mutationFn: () => calls.llm.set(value),
    onSuccess: (state) => {
      client.setQueryData(q.llmSettings().queryKey, state);
      toast.success("Settings saved");
    },
    onError: (error) => toast.error("Nothing was saved", { description: errorText(error) }),
  });
  const dirty = JSON.stringify(value) !== JSON.stringify(known);
  return (
    <form
      className="flex flex-col gap-5 p-4 md:p-6"
      onSubmit={(event) => {
        event.preventDefault();
        save.mutate();
      }}
    >
      <p className="text-sm text-muted">
        {stored.model
          ? `The operator set up ${stored.model}.`
          : "The operator set up no language model: nothing is asked, whatever is allowed here."}
      </p>
      <Check
        label="May be asked: it sees names and types of columns, and the forms of values"
        checked={value.allowed}
        onChange={(event) => setValue({ ...value, allowed: event.target.checked })}
      />
      <Check
        label="May see a few values as they stand"
        checked={value.raw_values}
        onChange={(event) => setValue({ ...value, raw_values: event.target.checked })}
      />
      <div className="grid gap-4 md:grid-cols-2">
        <Field
          label="Tokens a month"
          hint={`${count(stored.tokens_spent)} of this month are spent`}
        >
          {(control) => (
            <Input
              {...control}
              type="number"
              min={0}
              step={1}
              required
              value={value.tokens_per_month}
              onChange={(event) =>
                setValue({ ...value, tokens_per_month: Number(event.target.value) })
              }
            />
          )}
        </Field>
        <Field label="Money a month" hint={`${money(stored.cost_spent)} of this month are spent`}>
          {(control) => (
            <Input
              {...control}
              type="number"
              min={0}
              step="any"
              required
              value={value.cost_per_month}
              onChange={(event) =>
                setValue({ ...value, cost_per_month: Number(event.target.value) })
              }
            />
          )}
        </Field>
      </div>
      <div className="flex justify-end gap-2">
        <Button disabled={!dirty} onClick={() => setValue(known)}>
          Discard
        </Button>
        <Button type="submit" variant="primary" disabled={!dirty} busy={save.isPending}>
          Save
        </Button>
      </div>
    </form>
  );
}

function Usage() {
  const usage = useQuery(q.llmUsage());
  return (
    <Card aria-labelledby="usage">
      <CardHead title="What was asked and cost" id="usage" hint="The last 31 days, by UTC" />
      {usage.isPending ? (
        <SkeletonRows rows={3} />
      ) : usage.isError ? (
        <ErrorState error={usage.error} retry={() => void usage.refetch()} />
      ) : usage.data.data.length === 0 ? (
        <Empty icon={Sparkles} title="Nothing was asked">
          Questions to a language model appear here, and those that past decisions answered instead.
        </Empty>
      ) : (
        <>
          <Facts
            className="p-4 md:p-6"
            items={[
              ["Calls", count(usage.data.total.calls)],
              ["Tokens", count(usage.data.total.input_tokens + usage.data.total.output_tokens)],
              ["Cost", money(usage.data.total.cost)],
              ["Saved by past decisions", many(usage.data.total.saved_by_retrieval, "call")],
            ]}
          />
          <UsageTable days={usage.data.data} />
        </>
      )}
    </Card>
  );
}

function UsageTable({ days }: { days: LlmUsageDay[] }) {
  return (
    <TableFrame label="Calls by day, model and purpose">
      <thead>
        <tr>
          {["Day", "Model", "Purpose", "Calls", "Failed", "Tokens", "Cost", "Time a call"].map(
            (name) => (
              <th key={name} scope="col" className={TH}>
                {name}
              </th>
            ),
          )}
        </tr>
      </thead>
      <tbody>
        {days.map((day) => (
          <tr key={`${day.day}/${day.model ?? ""}/${day.purpose}`}>
            <td className={TD}>{day.day}</td>
            <td className={TD}>{day.model ?? "past decisions"}</td>
            <td className={TD}>{humanize(day.purpose)}</td>
            <td className={TD}>
              {day.model === null ? `${count(day.saved_by_retrieval)} saved` : count(day.calls)}
            </td>
            <td className={TD}>{count(day.failed)}</td>
            <td className={TD}>{count(day.input_tokens + day.output_tokens)}</td>
            <td className={TD}>{money(day.cost)}</td>
            <td className={TD}>{day.calls ? duration(day.latency_ms / day.calls) : "–"}</td>
          </tr>
        ))}
      </tbody>
    </TableFrame>
  );
}
