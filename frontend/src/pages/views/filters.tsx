import { ListFilter } from "lucide-react";
import { Popover } from "radix-ui";
import { useState } from "react";
import { humanize } from "@/lib/format";
import { Button } from "@/ui/button";
import { Field, Input, Select } from "@/ui/form";
import { OPERATORS, type Operator } from "./state";

/** Adds "field is value" or another comparison; the chips beside it take it away again. */
export function AddFilter({
  fields,
  onAdd,
}: {
  fields: string[];
  onAdd: (field: string, operator: Operator, value: string) => void;
}) {
  const [open, setOpen] = useState(false);
  const [field, setField] = useState("");
  const [operator, setOperator] = useState<Operator>("eq");
  const [value, setValue] = useState("");
  const needsValue = operator !== "is_null";
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
              if (!chosen || (needsValue && value.trim() === "")) return;
              onAdd(chosen, operator, needsValue ? value.trim() : "true");
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
            <Field label="Comparison">
              {(control) => (
                <Select
                  {...control}
                  value={operator}
                  onChange={(event) => setOperator(event.target.value as Operator)}
                >
                  {Object.entries(OPERATORS).map(([name, words]) => (
                    <option key={name} value={name}>
                      {words}
                    </option>
                  ))}
                </Select>
              )}
            </Field>
            {needsValue ? (
              <Field label="Value">
                {(control) => (
                  <Input
                    {...control}
                    required
                    value={value}
                    onChange={(event) => setValue(event.target.value)}
                  />
                )}
              </Field>
            ) : null}
            <Button type="submit" variant="primary">
              Add filter
            </Button>
          </form>
        </Popover.Content>
      </Popover.Portal>
    </Popover.Root>
  );
}
