import { Clock } from "lucide-react";
import { Popover } from "radix-ui";
import { useState } from "react";
import { dateTime } from "@/lib/format";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Field, Input } from "@/ui/form";

const pad = (value: number) => String(value).padStart(2, "0");
/** What `<input type="datetime-local">` takes: this device's time, without a zone. */
const local = (time: Date) =>
  `${time.getFullYear()}-${pad(time.getMonth() + 1)}-${pad(time.getDate())}T${pad(time.getHours())}:${pad(time.getMinutes())}:${pad(time.getSeconds())}`;

const AGO: [string, number][] = [
  ["5 minutes ago", 5],
  ["1 hour ago", 60],
  ["Yesterday", 24 * 60],
  ["A week ago", 7 * 24 * 60],
];

/** Shows the view as it was at any past moment. */
export function AsOf({
  value,
  onChange,
}: {
  value: string | null;
  onChange: (value: string | null) => void;
}) {
  const [open, setOpen] = useState(false);
  const [typed, setTyped] = useState("");
  const time = value ? new Date(value) : null;
  const label = !value
    ? "As of now"
    : time && !Number.isNaN(time.getTime())
      ? `As of ${dateTime(time)}`
      : "As of a position";
  const choose = (next: Date | null) => {
    onChange(next ? next.toISOString() : null);
    setOpen(false);
  };
  return (
    <Popover.Root
      open={open}
      onOpenChange={(next) => {
        setOpen(next);
        if (next) setTyped(local(time && !Number.isNaN(time.getTime()) ? time : new Date()));
      }}
    >
      <Popover.Trigger asChild>
        <Button className={cx(value && "!border-agent !bg-agent-soft !text-agent")}>
          <Clock aria-hidden className="size-4" /> {label}
        </Button>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          align="start"
          sideOffset={6}
          collisionPadding={8}
          aria-label="Moment to show"
          className="rise z-50 w-72 rounded-2xl border border-line bg-surface p-4 shadow-pop"
        >
          <form
            className="flex flex-col gap-3"
            onSubmit={(event) => {
              event.preventDefault();
              const chosen = new Date(typed);
              if (!Number.isNaN(chosen.getTime())) choose(chosen);
            }}
          >
            <Field label="Show the state of" hint="In your time zone.">
              {(control) => (
                <Input
                  {...control}
                  type="datetime-local"
                  step={1}
                  required
                  value={typed}
                  onChange={(event) => setTyped(event.target.value)}
                />
              )}
            </Field>
            <div className="flex flex-wrap gap-2">
              {AGO.map(([name, minutes]) => (
                <Button
                  key={name}
                  small
                  onClick={() => choose(new Date(Date.now() - minutes * 60_000))}
                >
                  {name}
                </Button>
              ))}
            </div>
            <div className="flex justify-end gap-2 border-t border-line pt-3">
              {value ? <Button onClick={() => choose(null)}>Back to now</Button> : null}
              <Button type="submit" variant="primary">
                Show
              </Button>
            </div>
          </form>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
