import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { KeyRound, Plus, Trash2 } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type { ApiKey, Role } from "@/api/types";
import { humanize } from "@/lib/format";
import { Button } from "@/ui/button";
import { Badge, Card, CardHead, CopyButton, Empty, SkeletonRows, Time } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Field, Input, Select } from "@/ui/form";
import { Confirm, Dialog } from "@/ui/overlay";
import { ROLES } from "./members";

export function ApiKeys() {
  const client = useQueryClient();
  const keys = useQuery(q.apiKeys());
  const [adding, setAdding] = useState(false);
  const [revoking, setRevoking] = useState<ApiKey | null>(null);
  const revoke = useMutation({
    mutationFn: (id: string) => calls.apiKeys.revoke(id),
    onSuccess: () => {
      void client.invalidateQueries({ queryKey: ["api-keys"] });
      toast.success("Key revoked");
    },
    onError: (error) => toast.error("The key was not revoked", { description: errorText(error) }),
  });
  return (
    <Card aria-labelledby="keys" className="max-w-4xl">
      <CardHead
        title="API keys"
        id="keys"
        hint="For machines; a key is shown once and stored as a hash"
      >
        <Button small variant="primary" onClick={() => setAdding(true)}>
          <Plus aria-hidden className="size-4" /> Create key
        </Button>
      </CardHead>
      {keys.isPending ? (
        <SkeletonRows rows={2} />
      ) : keys.isError ? (
        <ErrorState error={keys.error} retry={() => void keys.refetch()} />
      ) : keys.data.length === 0 ? (
        <Empty icon={KeyRound} title="No key has been made">
          Create one for a script or another system; give it no more rights than it needs.
        </Empty>
      ) : (
        <ul className="mt-3 pb-2">
          {keys.data.map((key) => (
            <li
              key={key.id}
              className="flex flex-wrap items-center gap-x-4 gap-y-2 border-t border-line px-4 py-3 md:px-6"
            >
              <span className="min-w-0 flex-1">
                <span className="block font-semibold break-words">{key.name}</span>
                <span className="data text-muted">{key.prefix}…</span>
              </span>
              <Badge tone="agent">{humanize(key.role)}</Badge>
              <span className="text-sm text-muted">
                <Time at={key.created_at} />
              </span>
              <Button
                icon
                variant="ghost"
                aria-label={`Revoke ${key.name}`}
                onClick={() => setRevoking(key)}
              >
                <Trash2 aria-hidden className="size-4" />
              </Button>
            </li>
          ))}
        </ul>
      )}
      {adding ? <CreateKey onClose={() => setAdding(false)} /> : null}
      <Confirm
        open={revoking !== null}
        onOpenChange={(open) => !open && setRevoking(null)}
        title={`Revoke “${revoking?.name ?? ""}”?`}
        action="Revoke key"
        danger
        onConfirm={() => revoking && revoke.mutate(revoking.id)}
      >
        Whatever uses this key stops working at once.
      </Confirm>
    </Card>
  );
}

function CreateKey({ onClose }: { onClose: () => void }) {
  const client = useQueryClient();
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const create = useMutation({
    mutationFn: () => calls.apiKeys.create({ name: name.trim(), role }),
    onSuccess: () => void client.invalidateQueries({ queryKey: ["api-keys"] }),
  });
  const secret = create.data?.key;
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title={secret ? "Your new key" : "Create an API key"}
    >
      {secret ? (
        <div className="flex flex-col gap-4">
          <p className="text-sm font-semibold text-warn">
            Copy it now: it is shown this once, and stored as a hash only.
          </p>
          <code className="rounded-xl border border-line bg-sunken p-3 text-sm break-all">
            {secret}
          </code>
          <div className="flex justify-end gap-2">
            <CopyButton text={secret} label="Copy key" />
            <Button variant="primary" onClick={onClose}>
              Done
            </Button>
          </div>
        </div>
      ) : (
        <form
          className="flex flex-col gap-5"
          onSubmit={(event) => {
            event.preventDefault();
            create.mutate();
          }}
        >
          <Field label="Name" hint="What uses it">
            {(control) => (
              <Input
                {...control}
                required
                maxLength={120}
                value={name}
                onChange={(event) => setName(event.target.value)}
              />
            )}
          </Field>
          <Field label="Role">
            {(control) => (
              <Select
                {...control}
                value={role}
                onChange={(event) => setRole(event.target.value as Role)}
              >
                {ROLES.filter((one) => one.value !== "owner").map((one) => (
                  <option key={one.value} value={one.value}>
                    {humanize(one.value)}: {one.does}
                  </option>
                ))}
              </Select>
            )}
          </Field>
          {create.isError ? (
            <div className="-mx-4">
              <ErrorState error={create.error} />
            </div>
          ) : null}
          <div className="flex justify-end gap-2">
            <Button onClick={onClose}>Cancel</Button>
            <Button type="submit" variant="primary" busy={create.isPending}>
              Create key
            </Button>
          </div>
        </form>
      )}
    </Dialog>
  );
}
