import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { Command } from "cmdk";
import { Cable, LogOut, Moon, Plus, Sun, Table2 } from "lucide-react";
import type { ReactNode } from "react";
import { q } from "@/api/queries";
import { humanize } from "@/lib/format";
import { theme } from "@/lib/theme";
import { NAV } from "./nav";
import { signOut } from "./sign-out";

const ITEM =
  "flex min-h-11 cursor-pointer items-center gap-3 rounded-xl px-3 text-sm font-semibold data-[selected=true]:bg-accent-soft data-[selected=true]:text-accent-strong";
const GROUP =
  "[&_[cmdk-group-heading]]:px-3 [&_[cmdk-group-heading]]:pt-3 [&_[cmdk-group-heading]]:pb-1 [&_[cmdk-group-heading]]:text-xs [&_[cmdk-group-heading]]:font-bold [&_[cmdk-group-heading]]:text-muted";

export default function Palette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const connections = useQuery(q.connections());
  const views = useQuery(q.views());
  const item = (label: string, icon: ReactNode, act: () => unknown, value = label) => (
    <Command.Item
      key={value}
      value={value}
      className={ITEM}
      onSelect={() => {
        onClose();
        void act();
      }}
    >
      {icon}
      {label}
    </Command.Item>
  );
  return (
    <Command.Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      label="Command palette"
      overlayClassName="fixed inset-0 z-40 bg-black/45"
      contentClassName="rise fixed inset-x-3 top-[10vh] z-50 mx-auto max-w-xl overflow-hidden rounded-2xl border border-line bg-surface shadow-pop"
    >
      <Command.Input
        placeholder="Jump to a page, a connection, a view…"
        className="h-14 w-full border-b border-line bg-transparent px-5 text-base outline-none placeholder:text-muted"
      />
      <Command.List className="max-h-[50vh] overflow-y-auto p-2">
        <Command.Empty className="px-4 py-8 text-center text-sm text-muted">
          Nothing is called that here.
        </Command.Empty>
        <Command.Group heading="Pages" className={GROUP}>
          {NAV.flatMap((group) => group.items).map((page) =>
            item(page.label, <page.icon aria-hidden className="size-4 text-muted" />, () =>
              navigate({ to: page.to }),
            ),
          )}
        </Command.Group>
        {views.data?.length ? (
          <Command.Group heading="Views" className={GROUP}>
            {views.data.map((view) =>
              item(
                humanize(view.plural ?? view.entity),
                <Table2 aria-hidden className="size-4 text-entity" />,
                () => navigate({ to: "/views/$entity", params: { entity: view.entity } }),
                `view ${view.entity} ${view.plural ?? ""}`,
              ),
            )}
          </Command.Group>
        ) : null}
        {connections.data?.length ? (
          <Command.Group heading="Connections" className={GROUP}>
            {connections.data.map((connection) =>
              item(
                connection.name,
                <Cable aria-hidden className="size-4 text-source" />,
                () =>
                  navigate({
                    to: "/connections/$connectionId",
                    params: { connectionId: connection.id },
                  }),
                `connection ${connection.name} ${connection.id}`,
              ),
            )}
          </Command.Group>
        ) : null}
        <Command.Group heading="Actions" className={GROUP}>
          {item("Add a connection", <Plus aria-hidden className="size-4 text-muted" />, () =>
            navigate({ to: "/connections/new" }),
          )}
          {item("Light theme", <Sun aria-hidden className="size-4 text-muted" />, () =>
            theme.choose("light"),
          )}
          {item("Dark theme", <Moon aria-hidden className="size-4 text-muted" />, () =>
            theme.choose("dark"),
          )}
          {item("Sign out", <LogOut aria-hidden className="size-4 text-muted" />, signOut)}
        </Command.Group>
      </Command.List>
    </Command.Dialog>
  );
}
