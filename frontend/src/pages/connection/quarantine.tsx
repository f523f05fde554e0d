import { useInfiniteQuery } from "@tanstack/react-query";
import { ArrowRight, ShieldCheck } from "lucide-react";
import { q } from "@/api/queries";
import { humanize } from "@/lib/format";
import { Button } from "@/ui/button";
import { Badge, Card, Empty, SkeletonRows, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";

/** What did not fit, with the reason; it comes back by itself when the mapping is put right. */
export default function Quarantine({ connectionId }: { connectionId: string }) {
  const quarantine = useInfiniteQuery(q.quarantine(connectionId));
  if (quarantine.isPending) {
    return (
      <Card>
        <SkeletonRows />
      </Card>
    );
  }
  if (quarantine.isError)
    return <ErrorState error={quarantine.error} retry={() => void quarantine.refetch()} />;
  const items = quarantine.data.pages.flatMap((page) => page.data);
  if (items.length === 0) {
    return (
      <Card>
        <Empty icon={ShieldCheck} title="Nothing is in quarantine">
          A value that does not fit its field waits here with the reason, while the rest of its row
          goes on.
        </Empty>
      </Card>
    );
  }
  return (
    <Card aria-label="Quarantine">
      <p className="px-4 py-4 text-sm text-muted md:px-6">
        These values wait; the rest of their rows is in the views. They come back by themselves when
        the mapping fits.
      </p>
      <ul>
        {items.map((item, index) => (
          <li key={index} className="border-t border-line px-4 py-3 text-sm md:px-6">
            <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
              <span className="font-bold break-all text-source">
                {item.stream}
                {item.source_column ? `.${item.source_column}` : ""}
              </span>
              {item.field ? (
                <span className="flex items-center gap-2 font-bold text-entity">
                  <ArrowRight aria-label="to" className="size-4 text-muted" />
                  {humanize(item.field)}
                </span>
              ) : (
                <Badge tone="warn">whole row</Badge>
              )}
              <Time at={item.since} className="ml-auto text-muted" />
            </div>
            {item.value !== null ? <p className="data mt-1 break-all">{item.value}</p> : null}
            <p className="mt-1 text-muted">
              {item.reason} <span className="data">({item.code})</span>
            </p>
          </li>
        ))}
      </ul>
      {quarantine.hasNextPage ? (
        <div className="flex justify-center border-t border-line p-4">
          <Button
            busy={quarantine.isFetchingNextPage}
            onClick={() => void quarantine.fetchNextPage()}
          >
            Show more
          </Button>
        </div>
      ) : null}
    </Card>
  );
}
