import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { Trash2, UserPlus } from "lucide-react";
import { useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { ApiError } from "@/api/error";
import { q } from "@/api/queries";
import { useSession } from "@/api/session";
import type { Role, User } from "@/api/types";
import { humanize } from "@/lib/format";
import { Button } from "@/ui/button";
import { Badge, Card, CardHead, SkeletonRows } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Field, Input, Select } from "@/ui/form";
import { Confirm, Dialog } from "@/ui/overlay";

export const ROLES: { value: Role; does: string }[] = [
  { value: "viewer", does: "sees everything" },
  { value: "editor", does: "connects, syncs, maps and repairs" },
  { value: "admin", does: "also manages members and keys" },
  { value: "owner", does: "everything" },
];

export function Members() {
  const client = useQueryClient();
  const held = useSession();
  const users = useQuery(q.users());
  const [adding, setAdding] = useState(false);
  const [removing, setRemoving] = useState<User | null>(null);
  const manages = held?.user.role === "owner" || held?.user.role === "admin";
  const changed = () => void client.invalidateQueries({ queryKey: ["users"] });
  const setRole = useMutation({
    mutationFn: ({ id, role }: { id: string; role: Role }) => calls.users.setRole(id, role),
    onSuccess: () => {
      changed();
      toast.success("Role changed");
    },
    onError: (error) => toast.error("The role was not changed", { description: errorText(error) }),
  });
  const remove = useMutation({
    mutationFn: (id: string) => calls.users.remove(id),
    onSuccess: () => {
      changed();
      toast.success("Member removed", { description: "Open sessions ended at once." });
    },
    onError: (error) =>
      toast.error("The member was not removed", { description: errorText(error) }),
  });
  return (
    <Card aria-labelledby="members" className="max-w-4xl">
      <CardHead title="Members" id="members" hint="Who may see and do what in this organisation">
        {manages ? (
          <Button small variant="primary" onClick={() => setAdding(true)}>
            <UserPlus aria-hidden className="size-4" /> Add member
          </Button>
        ) : null}
      </CardHead>
      {users.isPending ? (
        <SkeletonRows rows={3} />
      ) : users.isError ? (
        <ErrorState error={users.error} retry={() => void users.refetch()} />
      ) : (
        <ul className="mt-3 pb-2">
          {users.data.map((user) => (
            <li
              key={user.id}
              className="flex flex-wrap items-center gap-3 border-t border-line px-4 py-3 md:px-6"
            >
              <span
                aria-hidden
                className="grid size-9 shrink-0 place-items-center rounded-full bg-agent-soft text-sm font-bold text-agent uppercase"
              >
                {user.email.charAt(0)}
              </span>
              <span className="min-w-0 flex-1 basis-48 font-semibold break-words">
                {user.email} {user.id === held?.user.id ? <Badge>you</Badge> : null}
              </span>
              {manages && user.id !== held?.user.id ? (
                <>
                  <Select
                    aria-label={`Role of ${user.email}`}
                    className="!w-auto"
                    value={user.role}
                    onChange={(event) =>
                      setRole.mutate({ id: user.id, role: event.target.value as Role })
                    }
                  >
                    {ROLES.map((role) => (
                      <option key={role.value} value={role.value}>
                        {humanize(role.value)}
                      </option>
                    ))}
                  </Select>
                  <Button
                    icon
                    variant="ghost"
                    aria-label={`Remove ${user.email}`}
                    onClick={() => setRemoving(user)}
                  >
                    <Trash2 aria-hidden className="size-4" />
                  </Button>
                </>
              ) : (
                <Badge tone="agent">{humanize(user.role)}</Badge>
              )}
            </li>
          ))}
        </ul>
      )}
      {adding ? <AddMember onClose={() => setAdding(false)} onAdded={changed} /> : null}
      <Confirm
        open={removing !== null}
        onOpenChange={(open) => !open && setRemoving(null)}
        title={`Remove ${removing?.email ?? ""}?`}
        action="Remove member"
        danger
        onConfirm={() => removing && remove.mutate(removing.id)}
      >
        They lose access at once. What they did stays in the history.
      </Confirm>
    </Card>
  );
}

function AddMember({ onClose, onAdded }: { onClose: () => void; onAdded: () => void }) {
  const [email, setEmail] = useState("");
  const [password, setPassword] = useState("");
  const [role, setRole] = useState<Role>("editor");
  const add = useMutation({
    mutationFn: () => calls.users.create({ email: email.trim(), password, role }),
    onSuccess: () => {
      onAdded();
      toast.success(`${email.trim()} is a member now`);
      onClose();
    },
  });
  const problem = add.error instanceof ApiError ? add.error : null;
  return (
    <Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      title="Add a member"
      description="Give them the first password yourself."
    >
      <form
        className="flex flex-col gap-5"
        onSubmit={(event) => {
          event.preventDefault();
          add.mutate();
        }}
      >
        <Field label="E-mail" error={problem?.field("/email")}>
          {(control) => (
            <Input
              {...control}
              type="email"
              required
              autoComplete="off"
              value={email}
              onChange={(event) => setEmail(event.target.value)}
            />
          )}
        </Field>
        <Field label="First password" error={problem?.field("/password")}>
          {(control) => (
            <Input
              {...control}
              type="password"
              required
              autoComplete="new-password"
              value={password}
              onChange={(event) => setPassword(event.target.value)}
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
              {ROLES.map((one) => (
                <option key={one.value} value={one.value}>
                  {humanize(one.value)}: {one.does}
                </option>
              ))}
            </Select>
          )}
        </Field>
        {problem && problem.fields.length === 0 ? (
          <div className="-mx-4">
            <ErrorState error={problem} />
          </div>
        ) : null}
        <div className="flex justify-end gap-2">
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" variant="primary" busy={add.isPending}>
            Add member
          </Button>
        </div>
      </form>
    </Dialog>
  );
}
