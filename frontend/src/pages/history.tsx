import { useInfiniteQuery, useMutation, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { History as HistoryIcon, ShieldCheck, X } from "lucide-react";
import { useState } from "react";
import * as calls from "@/api/calls";
import { useGathered } from "@/api/events";
import { q } from "@/api/queries";
import type { Actor, LogEvent } from "@/api/types";
import { actorText, eventText } from "@/lib/events-text";
import { count, humanize, shortId } from "@/lib/format";
import { Button } from "@/ui/button";
import { Card, CopyButton, Empty, Facts, SkeletonRows, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { Select } from "@/ui/form";
import { Drawer } from "@/ui/overlay";
import { NewItems, PageHead } from "@/ui/page";
import { EventIcon } from "./event-row";

const route = getRouteApi("/app/history");
const KINDS = [
  "connection",
  "feed",
  "sync",
  "stream-schema",
  "mapping",
  "identity",
  "ontology",
  "task",
  "tenant",
  "user",
  "api-key",
];
const everyEvent = () => true;

/** Members by their e-mail; whoever has gone since, by id. */
function useActorText(): (actor: Actor | undefined) => string {
  const users = useQuery(q.users());
  return (actor) => {
    const id = typeof actor === "object" ? actor.id : undefined;
    return users.data?.find((user) => user.id === id)?.email ?? actorText(actor);
  };
}

export function History() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const filters = {
    aggregate_type: search.aggregate_type,
    aggregate_id: search.aggregate_id,
    types: search.types,
    actor: search.actor,
    from: search.from,
    to: search.to,
  };
  const history = useInfiniteQuery({
    queryKey: ["history", filters],
    queryFn: ({ pageParam }) => calls.history.list({ ...filters, limit: 100, cursor: pageParam }),
    initialPageParam: undefined as string | undefined,
    getNextPageParam: (page) => page.meta?.next_cursor ?? undefined,
  });
  const actorOf = useActorText();
  const [gathered, resetGathered] = useGathered(everyEvent);
  const list = history.data?.pages.flatMap((page) => page.data) ?? [];
  const chosen = list.find((event) => event.position === search.event);
  const narrowed = Object.entries(filters).filter(
    ([name, value]) => value && name !== "aggregate_type",
  );
  return (
    <>
      <PageHead
        title="History"
        intro="Who did what, when and why. Nothing here is ever changed or removed."
        actions={<Verify />}
      />
      <div className="mb-4 flex flex-wrap items-center gap-3">
        <Select
          aria-label="Kind of thing"
          className="!w-auto"
          value={search.aggregate_type ?? ""}
          onChange={(event) =>
            void navigate({
              search: { ...search, aggregate_type: event.target.value || undefined },
            })
          }
        >
          <option value="">Everything</option>
          {KINDS.map((kind) => (
            <option key={kind} value={kind}>
              {humanize(kind)}
            </option>
          ))}
        </Select>
        {narrowed.map(([name, value]) => (
          <button
            key={name}
            type="button"
            onClick={() => void navigate({ search: { ...search, [name]: undefined } })}
            aria-label={`Remove the filter ${humanize(name)}`}
            className="inline-flex min-h-11 max-w-full items-center gap-2 rounded-full bg-entity-soft px-4 text-sm font-bold text-entity md:pointer-fine:min-h-8"
          >
            <span className="truncate">
              {name === "aggregate_id"
                ? `Only ${shortId(value ?? "")}`
                : `${humanize(name)}: ${value}`}
            </span>
            <X aria-hidden className="size-4 shrink-0" />
          </button>
        ))}
        <NewItems
          count={gathered}
          onShow={() => {
            resetGathered();
            void history.refetch();
          }}
        />
      </div>
      <Card aria-label="Events">
        {history.isPending ? (
          <SkeletonRows rows={8} />
        ) : history.isError ? (
          <ErrorState error={history.error} retry={() => void history.refetch()} />
        ) : list.length === 0 ? (
          <Empty icon={HistoryIcon} title="No event matches">
            Remove a filter to see more.
          </Empty>
        ) : (
          <>
            <ul>
              {list.map((event) => (
                <li key={event.position} className="border-t border-line first:border-t-0">
                  <Link
                    to="/history"
                    search={{ ...search, event: event.position }}
                    resetScroll={false}
                    className="flex min-h-14 items-center gap-3 px-4 py-2.5 -outline-offset-2 hover:bg-hover md:gap-4 md:px-6"
                  >
                    <EventIcon event={event} />
                    <span className="min-w-0 flex-1">
                      <span className="block font-semibold break-words">{eventText(event)}</span>
                      <span className="block truncate text-xs text-muted">
                        {humanize(event.aggregate_type)} {shortId(event.aggregate_id)} ·{" "}
                        {actorOf(event.actor)}
                      </span>
                    </span>
                    <Time at={event.recorded_at} className="text-sm text-muted" />
                  </Link>
                </li>
              ))}
            </ul>
            {history.hasNextPage ? (
              <div className="flex justify-center border-t border-line p-4">
                <Button
                  busy={history.isFetchingNextPage}
                  onClick={() => void history.fetchNextPage()}
                >
                  Show more
                </Button>
              </div>
            ) : null}
          </>
        )}
      </Card>
      <EventDrawer
        event={chosen}
        onClose={() =>
          void navigate({ search: { ...search, event: undefined }, resetScroll: false })
        }
      />
    </>
  );
}

function EventDrawer({ event, onClose }: { event: LogEvent | undefined; onClose: () => void }) {
  const actorOf = useActorText();
  const [shown, setShown] = useState<LogEvent>();
  // The last one stays drawn while the drawer goes.
  if (event && event !== shown) setShown(event);
  const body = event ?? shown;
  return (
    <Drawer
      open={Boolean(event)}
      onOpenChange={(open) => !open && onClose()}
      title={body ? humanize(body.type) : "Event"}
      description={body ? eventText(body) : undefined}
    >
      {body ? (
        <div className="flex flex-col gap-5 p-5">
          <Facts
            items={[
              ["When", <Time key="when" at={body.recorded_at} />],
              [
                "Who",
                <span key="who" className="break-all">
                  {actorOf(body.actor)}
                </span>,
              ],
              [
                "What",
                <Link
                  key="what"
                  to="/history"
                  search={{ aggregate_id: body.aggregate_id }}
                  className="font-bold break-all text-accent-strong underline underline-offset-4"
                >
                  {humanize(body.aggregate_type)} {shortId(body.aggregate_id)}
                </Link>,
              ],
              [
                "Version",
                <span key="version" className="data">
                  {body.version}
                </span>,
              ],
              ...(body.causation_id
                ? ([
                    [
                      "Caused by",
                      <span key="cause" className="data break-all">
                        {body.causation_id}
                      </span>,
                    ],
                  ] as [string, React.ReactNode][])
                : []),
              [
                "Position",
                <span key="position" className="inline-flex items-center gap-1">
                  <span className="data break-all">{body.position}</span>
                  <CopyButton icon text={body.position} label="Copy the position" />
                </span>,
              ],
            ]}
          />
          <section aria-labelledby="event-body">
            <div className="mb-2 flex items-center justify-between">
              <h3 id="event-body" className="font-bold">
                Content
              </h3>
              <CopyButton text={JSON.stringify(body.payload, null, 2)} />
            </div>
            <pre
              role="region"
              aria-labelledby="event-body"
              tabIndex={0}
              className="max-h-[50vh] overflow-auto rounded-xl border border-line bg-sunken p-3 text-xs leading-5"
            >
              {JSON.stringify(body.payload, null, 2)}
            </pre>
          </section>
        </div>
      ) : null}
    </Drawer>
  );
}

function Verify() {
  const verify = useMutation({ mutationFn: () => calls.history.verify() });
  return (
    <div className="flex flex-wrap items-center justify-end gap-3">
      <p role="status" className="text-sm font-semibold">
        {verify.data ? (
          verify.data.ok ? (
            <span className="text-source">
              {count(verify.data.commits_checked)} commits checked, all whole
            </span>
          ) : (
            <span className="text-danger">
              {count(verify.data.broken?.length ?? 0)} breaks found
            </span>
          )
        ) : verify.isError ? (
          <span className="text-danger">{verify.error.message}</span>
        ) : null}
      </p>
      <Button busy={verify.isPending} onClick={() => verify.mutate()}>
        <ShieldCheck aria-hidden className="size-4" /> Verify
      </Button>
    </div>
  );
}
