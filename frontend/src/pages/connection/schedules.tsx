// When a connection is synced by itself.

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { CalendarClock, Pause, Play, Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { ApiError } from "@/api/error";
import { q } from "@/api/queries";
import type { Connection, Schedule } from "@/api/types";
import { dateTime } from "@/lib/format";
import { Button } from "@/ui/button";
import { Card, CardHead, Skeleton } from "@/ui/display";
import { ErrorState, errorText } from "@/ui/error";
import { Field, Input, Select } from "@/ui/form";
import { Dialog } from "@/ui/overlay";
import { cadence, outcomeText, PRESETS } from "./cadence";

export function Schedules({ connection }: { connection: Connection }) {
  const client = useQueryClient();
  const schedules = useQuery(q.schedules(connection.id));
  const [adding, setAdding] = useState(false);
  const refresh = () => void client.invalidateQueries({ queryKey: ["schedules"] });
  const change = useMutation({
    mutationFn: ({ schedule, enabled }: { schedule: Schedule; enabled: boolean | null }) =>
      enabled === null
        ? calls.schedules.remove(schedule.id)
        : calls.schedules.update(schedule.id, { enabled }).then(() => undefined),
    onSuccess: refresh,
    onError: (error) =>
      toast.error("The schedule could not be changed", { description: errorText(error) }),
  });
  const pause = useMutation({
    mutationFn: () => calls.connections.pause(connection.id),
    onSuccess: () => void client.invalidateQueries({ queryKey: ["connections"] }),
    onError: (error) =>
      toast.error("The connection could not be paused", { description: errorText(error) }),
  });
  const list = schedules.data ?? [];
  return (
    <Card aria-labelledby="schedules">
      <CardHead title="Schedule" id="schedules">
        {list.length && !connection.health.paused ? (
          <Button small variant="ghost" busy={pause.isPending} onClick={() => pause.mutate()}>
            <Pause aria-hidden className="size-3.5" /> Pause all
          </Button>
        ) : null}
        <Button small onClick={() => setAdding(true)}>
          <Plus aria-hidden className="size-3.5" /> Add
        </Button>
      </CardHead>
      <div className="p-4 md:px-6 md:pb-6">
        {schedules.isPending ? (
          <Skeleton className="h-16" />
        ) : schedules.isError ? (
          <div className="-m-4">
            <ErrorState error={schedules.error} retry={() => void schedules.refetch()} />
          </div>
        ) : list.length === 0 ? (
          <p className="flex items-center gap-2 text-sm text-muted">
            <CalendarClock aria-hidden className="size-4" /> It is synced by hand alone.
          </p>
        ) : (
          <ul className="flex flex-col gap-3">
            {list.map((schedule) => (
              <li key={schedule.id} className="flex flex-wrap items-center gap-x-3 gap-y-1 text-sm">
                <span className="min-w-0 flex-1">
                  <span className="block font-bold">{cadence(schedule)}</span>
                  <span className="block text-muted">
                    {schedule.name} · {schedule.time_zone} ·{" "}
                    {schedule.next_run_at
                      ? `next ${dateTime(new Date(schedule.next_run_at))}`
                      : "off"}
                    {schedule.last_slot
                      ? ` · last ${dateTime(new Date(schedule.last_slot))}: ${outcomeText(schedule.last_outcome)}`
                      : ""}
                  </span>
                </span>
                <Button
                  small
                  icon
                  aria-label={`${schedule.enabled ? "Turn off" : "Turn on"} ${schedule.name}`}
                  onClick={() => change.mutate({ schedule, enabled: !schedule.enabled })}
                >
                  {schedule.enabled ? (
                    <Pause aria-hidden className="size-4" />
                  ) : (
                    <Play aria-hidden className="size-4" />
                  )}
                </Button>
                <Button
                  small
                  icon
                  variant="danger"
                  aria-label={`Delete ${schedule.name}`}
                  onClick={() => change.mutate({ schedule, enabled: null })}
                >
                  <Trash2 aria-hidden className="size-4" />
                </Button>
              </li>
            ))}
          </ul>
        )}
      </div>
      {adding ? (
        <AddDialog
          connection={connection}
          onClose={() => setAdding(false)}
          onAdded={() => {
            refresh();
            setAdding(false);
          }}
        />
      ) : null}
    </Card>
  );
}

function AddDialog({
  connection,
  onClose,
  onAdded,
}: {
  connection: Connection;
  onClose: () => void;
  onAdded: () => void;
}) {
  const [cron, setCron] = useState("0 * * * *");
  const [own, setOwn] = useState(false);
  const [zone, setZone] = useState(Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC");
  const add = useMutation({
    mutationFn: () =>
      calls.schedules.create({
        name: cadence({ cron }),
        cron: cron.trim(),
        time_zone: zone.trim(),
        connection_id: connection.id,
      }),
    onSuccess: onAdded,
  });
  const problem = add.error instanceof ApiError ? add.error : null;
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()} title="Sync it by itself">
      <form
        className="flex flex-col gap-5"
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <Field label="How often">
          {(control) => (
            <Select
              {...control}
              value={own ? "own" : cron}
              onChange={(event) => {
                setOwn(event.target.value === "own");
                if (event.target.value !== "own") setCron(event.target.value);
              }}
            >
              {PRESETS.map((preset) => (
                <option key={preset.cron} value={preset.cron}>
                  {preset.label}
                </option>
              ))}
              <option value="own">Another time (cron)</option>
            </Select>
          )}
        </Field>
        {own ? (
          <Field
            label="Cron expression"
            hint="Minute, hour, day of month, month, day of week; at least five minutes apart."
            error={problem?.field("/cron")}
          >
            {(control) => (
              <Input
                {...control}
                required
                value={cron}
                onChange={(event) => setCron(event.target.value)}
              />
            )}
          </Field>
        ) : null}
        <Field
          label="Time zone"
          hint="As Europe/Berlin or UTC; times follow its clock changes."
          error={problem?.field("/time_zone")}
        >
          {(control) => (
            <Input
              {...control}
              required
              value={zone}
              onChange={(event) => setZone(event.target.value)}
            />
          )}
        </Field>
        {add.error && !problem?.fields.length ? (
          <div className="-m-4">
            <ErrorState error={add.error} />
          </div>
        ) : null}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={add.isPending}>
            Add schedule
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
