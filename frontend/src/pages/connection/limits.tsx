// What a connection's owner allows; empty: the default.

import type { ConnectionLimits } from "@/api/types";
import { Field, Input } from "@/ui/form";
import { Disclosure } from "@/ui/page";

const LIMITS: { name: keyof ConnectionLimits; label: string; hint: string; usual: string }[] = [
  {
    name: "warn_after",
    label: "Warn after",
    hint: "Syncs that failed in a row.",
    usual: "3",
  },
  {
    name: "pause_after",
    label: "Pause after",
    hint: "Syncs that failed in a row.",
    usual: "10",
  },
  {
    name: "pause_after_refused",
    label: "Pause after refusals",
    hint: "The same where the source refuses the connection, which time does not mend.",
    usual: "2",
  },
  {
    name: "requests_per_day",
    label: "Requests a day",
    hint: "Then the sync waits until the next day (UTC).",
    usual: "no ceiling",
  },
];

export function Limits({
  limits,
  counted,
  onChange,
  errorAt,
}: {
  limits: ConnectionLimits;
  /** Requests of this connector are counted. */
  counted: boolean;
  onChange: (limits: ConnectionLimits) => void;
  errorAt: (name: string) => string | undefined;
}) {
  const shown = LIMITS.filter(({ name }) => name !== "requests_per_day" || counted);
  return (
    <Disclosure summary="Limits">
      <div className="grid gap-4 sm:grid-cols-2">
        {shown.map(({ name, label, hint, usual }) => (
          <Field key={name} label={label} hint={hint} optional error={errorAt(name)}>
            {(control) => (
              <Input
                {...control}
                type="number"
                min={1}
                placeholder={usual}
                value={limits[name] ?? ""}
                onChange={(event) =>
                  onChange({
                    ...limits,
                    [name]: event.target.value === "" ? undefined : Number(event.target.value),
                  })
                }
              />
            )}
          </Field>
        ))}
      </div>
    </Disclosure>
  );
}
