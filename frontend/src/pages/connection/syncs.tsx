import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { ChevronDown, RefreshCw } from "lucide-react";
import { q } from "@/api/queries";
import type { Sync } from "@/api/types";
import { count, duration } from "@/lib/format";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Card, Empty, SkeletonRows, Status, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { Freshness } from "@/ui/page";
import { isActive, SyncStreams } from "../sync-progress";

const route = getRouteApi("/app/connections/$connectionId");

export default function Syncs({
  connectionId,
  onSync,
}: {
  connectionId: string;
  onSync: () => void;
}) {
  const search = route.useSearch();
  const syncs = useQuery(q.syncs(connectionId));
  if (syncs.isPending) {
    return (
      <Card>
        <SkeletonRows rows={4} />
      </Card>
    );
  }
  if (syncs.isError) return <ErrorState error={syncs.error} retry={() => void syncs.refetch()} />;
  if (syncs.data.length === 0) {
    return (
      <Card>
        <Empty
          icon={RefreshCw}
          title="This connection has not been synced yet"
          action={
            <Button variant="primary" onClick={onSync}>
              Sync now
            </Button>
          }
        />
      </Card>
    );
  }
  return (
    <Card aria-label="Sync history">
      <div className="flex justify-end px-4 py-3 md:px-6">
        <Freshness updatedAt={syncs.dataUpdatedAt} fetching={syncs.isFetching} />
      </div>
      <ul>
        {syncs.data.map((sync) => (
          <SyncRow
            key={sync.id}
            sync={sync}
            open={search.sync === sync.id}
            connectionId={connectionId}
          />
        ))}
      </ul>
    </Card>
  );
}

function SyncRow({
  sync,
  open,
  connectionId,
}: {
  sync: Sync;
  open: boolean;
  connectionId: string;
}) {
  const began = sync.started_at ?? sync.requested_at;
  const rows = sync.streams.reduce((sum, stream) => sum + stream.rows_read, 0);
  const took =
    sync.started_at && sync.finished_at
      ? Date.parse(sync.finished_at) - Date.parse(sync.started_at)
      : null;
  return (
    <li className="border-t border-line">
      <Link
        to="/connections/$connectionId"
        params={{ connectionId }}
        search={{ tab: "syncs", sync: open ? undefined : sync.id }}
        replace
        resetScroll={false}
        aria-expanded={open}
        className="flex min-h-14 flex-wrap items-center gap-x-4 gap-y-1 px-4 py-3 -outline-offset-2 hover:bg-hover md:px-6"
      >
        <Status of={sync.status} />
        <span className="text-sm text-muted">{began ? <Time at={began} /> : "waiting"}</span>
        <span className="data ml-auto">{count(rows)} rows</span>
        {took !== null ? (
          <span className="data hidden w-20 text-right text-muted sm:block">{duration(took)}</span>
        ) : null}
        <ChevronDown
          aria-hidden
          className={cx("size-4 text-muted transition-transform", open && "rotate-180")}
        />
      </Link>
      {open || isActive(sync) ? (
        <div className="px-4 pb-5 md:px-6">
          <SyncStreams sync={sync} />
        </div>
      ) : null}
    </li>
  );
}
