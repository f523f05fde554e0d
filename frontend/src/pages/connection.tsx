import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi, useNavigate } from "@tanstack/react-router";
import { EllipsisVertical, PlugZap, RefreshCw, Trash2 } from "lucide-react";
import { lazy, Suspense, useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import { RoutePending } from "@/shell/route-states";
import { Button } from "@/ui/button";
import { Status } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { Confirm, Menu, MenuItem } from "@/ui/overlay";
import { PageHead, TabLinks } from "@/ui/page";
import { connectionTest } from "./connection/connection-test";
import { Overview } from "./connection/overview";

const Streams = lazy(() => import("./connection/streams"));
const Schemas = lazy(() => import("./connection/schemas"));
const DriftTab = lazy(() => import("./connection/drift"));
const Syncs = lazy(() => import("./connection/syncs"));
const Mappings = lazy(() => import("./connection/mappings"));
const Quarantine = lazy(() => import("./connection/quarantine"));

const route = getRouteApi("/app/connections/$connectionId");
const TABS = [
  "overview",
  "streams",
  "syncs",
  "mappings",
  "drift",
  "quarantine",
  "schemas",
] as const;
const LABELS = {
  overview: "Overview",
  streams: "Streams",
  schemas: "Schemas",
  drift: "Drift",
  syncs: "Syncs",
  mappings: "Mappings",
  quarantine: "Quarantine",
};

export function ConnectionPage() {
  const { connectionId } = route.useParams();
  const search = route.useSearch();
  const navigate = useNavigate();
  const client = useQueryClient();
  const tab = TABS.find((name) => name === search.tab) ?? "overview";
  const connection = useQuery(q.connection(connectionId));
  const drift = useQuery(q.drift({ connection_id: connectionId, status: "open", limit: 100 }));
  const [deleting, setDeleting] = useState(false);

  const test = useMutation({
    mutationFn: () => connectionTest(connectionId),
    onSuccess: (result) => {
      client.setQueryData(["test", connectionId], result);
      void client.invalidateQueries({ queryKey: ["connections"] });
      void navigate({ to: "/connections/$connectionId", params: { connectionId }, search: {} });
    },
  });
  const sync = useMutation({
    mutationFn: () => calls.connections.sync(connectionId),
    onSuccess: ({ sync_id }) => {
      void client.invalidateQueries({ queryKey: ["syncs"] });
      void navigate({
        to: "/connections/$connectionId",
        params: { connectionId },
        search: { tab: "syncs", sync: sync_id },
      });
    },
    onError: (error) => toast.error("The sync could not start", { description: errorText(error) }),
  });
  const remove = useMutation({
    mutationFn: () => calls.connections.remove(connectionId),
    onSuccess: () => {
      toast.success("Connection deleted", {
        description: "Its rows are closed; its history stays.",
      });
      client.removeQueries({ queryKey: ["connections", connectionId] });
      void client.invalidateQueries({ queryKey: ["connections"] });
      void navigate({ to: "/connections" });
    },
    onError: (error) =>
      toast.error("The connection could not be deleted", { description: errorText(error) }),
  });

  if (connection.isPending) return <RoutePending />;
  if (connection.isError) {
    return (
      <>
        <PageHead
          title="Connection"
          trail={[{ label: "Connections", link: { to: "/connections" } }]}
        />
        <ErrorState error={connection.error} retry={() => void connection.refetch()} />
      </>
    );
  }
  const open = drift.data?.length ?? 0;
  return (
    <>
      <PageHead
        title={connection.data.name}
        kicker={<Status of={connection.data.status} />}
        trail={[{ label: "Connections", link: { to: "/connections" } }]}
        actions={
          <>
            <Button busy={test.isPending} onClick={() => test.mutate()}>
              <PlugZap aria-hidden className="size-4" /> Test
            </Button>
            <Button variant="primary" busy={sync.isPending} onClick={() => sync.mutate()}>
              <RefreshCw aria-hidden className="size-4" /> Sync now
            </Button>
            <Menu
              trigger={
                <Button icon aria-label="More actions">
                  <EllipsisVertical aria-hidden className="size-4" />
                </Button>
              }
            >
              <MenuItem danger onSelect={() => setDeleting(true)}>
                <Trash2 aria-hidden className="size-4" /> Delete connection
              </MenuItem>
            </Menu>
          </>
        }
      />
      <TabLinks
        label="Parts of the connection"
        tabs={TABS.map((name) => ({
          key: name,
          active: name === tab,
          label: (
            <>
              {LABELS[name]}
              {name === "drift" && open > 0 ? (
                <span className="rounded-full bg-warn-soft px-2 text-xs leading-5 font-bold text-warn">
                  {open} open
                </span>
              ) : null}
            </>
          ),
          link: {
            to: "/connections/$connectionId",
            params: { connectionId },
            search: name === "overview" ? {} : { tab: name },
          },
        }))}
      />
      <Suspense fallback={<RoutePending />}>
        {tab === "overview" ? <Overview connection={connection.data} /> : null}
        {tab === "streams" ? (
          <Streams connection={connection.data} onSync={() => sync.mutate()} />
        ) : null}
        {tab === "schemas" ? <Schemas connectionId={connectionId} /> : null}
        {tab === "drift" ? <DriftTab connectionId={connectionId} /> : null}
        {tab === "syncs" ? (
          <Syncs connectionId={connectionId} onSync={() => sync.mutate()} />
        ) : null}
        {tab === "mappings" ? <Mappings connectionId={connectionId} /> : null}
        {tab === "quarantine" ? <Quarantine connectionId={connectionId} /> : null}
      </Suspense>
      <Confirm
        open={deleting}
        onOpenChange={setDeleting}
        title={`Delete “${connection.data.name}”?`}
        action="Delete connection"
        danger
        onConfirm={() => remove.mutate()}
      >
        Its rows leave the unified views from now on. Its history stays, and “as of” an earlier time
        still shows them. This cannot be undone.
      </Confirm>
    </>
  );
}
