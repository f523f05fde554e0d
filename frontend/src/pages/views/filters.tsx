import { ListFilter } from "lucide-react";
import { Popover } from "radix-ui";
import { useState } from "react";
import { humanize } from "@/lib/format";
import { Button } from "@/ui/button";
import { Field, Input, Select } from "@/ui/form";

/** Adds "field is value"; the chips beside it take it away again. */
export function AddFilter({
  fields,
  onAdd,
}: {
  fields: string[];
  onAdd: (field: string, value: string) => void;
}) {
  const [open, setOpen] = useState(false);
  const [field, setField] = useState("");
  const [value, setValue] = useState("");
  const chosen = fields.includes(field) ? field : (fields[0] ?? "");
  return (
    <Popover.Root open={open} onOpenChange={setOpen}>
      <Popover.Trigger asChild>
        <Button>
          <ListFilter aria-hidden className="size-4" /> Filter
        </Button>
      </Popover.Trigger>
      <Popover.Portal>
        <Popover.Content
          align="start"
          sideOffset={6}
          collisionPadding={8}
          aria-label="New filter"
          className="rise z-50 w-72 rounded-2xl border border-line bg-surface p-4 shadow-pop"
        >
          <form
            className="flex flex-col gap-3"
            onSubmit={(event) => {
              event.preventDefault();
              if (!chosen || value.trim() === "") return;
              onAdd(chosen, value.trim());
              setValue("");
              setOpen(false);
            }}
          >
            <Field label="Field">
              {(control) => (
                <Select
                  {...control}
                  value={chosen}
                  onChange={(event) => setField(event.target.value)}
                >
                  {fields.map((name) => (
                    <option key={name} value={name}>
                      {humanize(name)}
                    </option>
                  ))}
                </Select>
              )}
            </Field>
            <Field label="is">
              {(control) => (
                <Input
                  {...control}
                  required
                  value={value}
                  onChange={(event) => setValue(event.target.value)}
                />
              )}
            </Field>
            <Button type="submit" variant="primary">
              Add filter
            </Button>
          </form>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
