import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type { AutonomyMode, RepairPolicy } from "@/api/types";
import { percent } from "@/lib/format";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Card, CardHead, SkeletonRows } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Backtest } from "./backtest";
import { Policies } from "./policies";

const MODES: { value: AutonomyMode; label: string; does: string }[] = [
  {
    value: "observe",
    label: "Observe",
    does: "Reports drift and holds what it touches; proposes nothing.",
  },
  { value: "recommend", label: "Recommend", does: "Proposes repairs; a person applies them." },
  {
    value: "approve_to_act",
    label: "Approve to act",
    does: "Prepares everything; a person approves each.",
  },
  {
    value: "auto",
    label: "Automatic",
    does: "Applies what is sure enough by itself, asks about the rest.",
  },
];

export function Autonomy() {
  return (
    <div className="flex max-w-4xl flex-col gap-4 md:gap-6">
      <Mode />
      <Policy />
      <Policies />
    </div>
  );
}

function Mode() {
  const client = useQueryClient();
  const autonomy = useQuery(q.autonomy());
  const set = useMutation({
    mutationFn: (mode: AutonomyMode) => calls.autonomy.set(mode),
    onSuccess: (_, mode) => {
      client.setQueryData(q.autonomy().queryKey, { mode });
      toast.success("Autonomy changed");
    },
    onError: (error) => toast.error("Autonomy was not changed", { description: errorText(error) }),
  });
  return (
    <Card aria-labelledby="mode">
      <CardHead title="How far it may go without a person" id="mode" />
      {autonomy.isPending ? (
        <SkeletonRows rows={4} />
      ) : autonomy.isError ? (
        <ErrorState error={autonomy.error} retry={() => void autonomy.refetch()} />
      ) : (
        <fieldset className="grid gap-3 p-4 md:grid-cols-2 md:p-6" disabled={set.isPending}>
          <legend className="sr-only">Autonomy mode</legend>
          {MODES.map((mode) => (
            <label
              key={mode.value}
              className={cx(
                "flex cursor-pointer items-start gap-3 rounded-xl border p-4",
                autonomy.data.mode === mode.value
                  ? "border-accent-strong bg-accent-soft"
                  : "border-line hover:border-control",
              )}
            >
              <input
                type="radio"
                name="mode"
                value={mode.value}
                checked={autonomy.data.mode === mode.value}
                onChange={() => set.mutate(mode.value)}
                className="mt-1 size-4 shrink-0 accent-accent"
              />
              <span>
                <span className="block font-bold">{mode.label}</span>
                <span className="block text-sm text-muted">{mode.does}</span>
              </span>
            </label>
          ))}
        </fieldset>
      )}
    </Card>
  );
}

function Policy() {
  const policy = useQuery(q.policy());
  return (
    <Card aria-labelledby="policy">
      <CardHead
        title="When a repair is applied, asked about, or held"
        id="policy"
        hint="By the calibrated probability of each change"
      />
      {policy.isPending ? (
        <SkeletonRows rows={2} />
      ) : policy.isError ? (
        <ErrorState error={policy.error} retry={() => void policy.refetch()} />
      ) : (
        <PolicyForm key={JSON.stringify(policy.data)} stored={policy.data} />
      )}
    </Card>
  );
}

function PolicyForm({ stored }: { stored: RepairPolicy }) {
  const client = useQueryClient();
  const [value, setValue] = useState(stored);
  const save = useMutation({
    mutationFn: () => calls.policy.set(value),
    onSuccess: () => {
      client.setQueryData(q.policy().queryKey, value);
      toast.success("Policy saved");
    },
    onError: (error) => toast.error("The policy was not saved", { description: errorText(error) }),
  });
  const dirty =
    value.automatic_from !== stored.automatic_from || value.ask_from !== stored.ask_from;
  const slider = (
    name: keyof RepairPolicy,
    label: string,
    min: number,
    max: number,
    step: number,
  ) => (
    <label className="flex flex-col gap-2">
      <span className="flex justify-between text-sm font-semibold">
        {label} <span className="data">{percent(value[name])}</span>
      </span>
      <input
        type="range"
        min={min}
        max={max}
        step={step}
        value={value[name]}
        onChange={(event) => setValue({ ...value, [name]: Number(event.target.value) })}
        className="h-11 accent-accent md:pointer-fine:h-8"
      />
    </label>
  );
  return (
    <>
      <form
        className="flex flex-col gap-5 p-4 md:p-6"
        onSubmit={(event) => {
          event.preventDefault();
          save.mutate();
        }}
      >
        {slider("automatic_from", "Applied by itself from", 0.85, 1, 0.005)}
        {slider("ask_from", "Asked about from", 0.3, 0.84, 0.01)}
        <div aria-hidden className="flex h-9 overflow-hidden rounded-xl text-xs font-bold">
          <span
            className="grid place-items-center bg-warn-soft text-warn"
            style={{ width: `${value.ask_from * 100}%` }}
          >
            held
          </span>
          <span
            className="grid place-items-center bg-entity-soft text-entity"
            style={{ width: `${(value.automatic_from - value.ask_from) * 100}%` }}
          >
            asked
          </span>
          <span className="grid flex-1 place-items-center bg-agent-soft text-agent">
            {value.automatic_from < 0.97 ? "by itself" : ""}
          </span>
        </div>
        <p className="text-sm text-muted">
          Below {percent(value.ask_from)} the affected values are held; from there to{" "}
          {percent(value.automatic_from)} you are asked; from there on it acts by itself, if no
          check objects.
        </p>
        <div className="flex justify-end gap-2">
          <Button disabled={!dirty} onClick={() => setValue(stored)}>
            Discard
          </Button>
          <Button type="submit" variant="primary" disabled={!dirty} busy={save.isPending}>
            Save policy
          </Button>
        </div>
      </form>
      <Backtest key={JSON.stringify(value)} policy={value} />
    </>
  );
}
