// Which streams a connection reads. What is chosen survives search, leaving and reload.

import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { getRouteApi } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { ChevronDown, Radar, RotateCcw } from "lucide-react";
import { useRef, useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { q } from "@/api/queries";
import type { Connection, DiscoveredStream, StreamSelection, SyncMode } from "@/api/types";
import { count, humanize, many } from "@/lib/format";
import { useDraft } from "@/lib/hooks";
import { storage } from "@/lib/storage";
import { Button } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Badge, Card, Empty, SkeletonRows } from "@/ui/display";
import { ErrorState, errorText } from "@/ui/error";
import { Check, SearchBox, Select } from "@/ui/form";
import { Confirm } from "@/ui/overlay";

const route = getRouteApi("/app/connections/$connectionId");
const MODES: Record<SyncMode, string> = {
  full: "Full: every row each time",
  incremental: "Incremental: what is new or changed",
  cdc: "Change capture",
};
/** Below this many rows all are drawn: find-in-page works, and nothing is hidden. */
const DRAW_ALL = 60;

type Choice = Record<string, StreamSelection>;

export default function Streams({
  connection,
  onSync,
}: {
  connection: Connection;
  onSync: () => void;
}) {
  const client = useQueryClient();
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const test = client.getQueryData<{ ok: boolean }>(["test", connection.id]);
  const selected = connection.streams ?? [];
  const kept = `aos.discovered.${connection.id}`;
  const discovery = useQuery({
    queryKey: ["discovered", connection.id],
    queryFn: async () => {
      const { streams } = await calls.connections.discover(connection.id);
      storage.set(kept, streams);
      return streams;
    },
    initialData: () => storage.get<DiscoveredStream[]>(kept) ?? undefined,
    // Asked for by a person, or right after the connection was made; never by merely looking.
    enabled: test?.ok === true,
    staleTime: Infinity,
  });
  const ontology = useQuery(q.ontology());
  const [draft, setDraft, clearDraft] = useDraft<Choice | null>(`streams.${connection.id}`, null);
  const [saved, setSaved] = useState(false);

  const streams = discovery.data ?? [];
  const stored: Choice | null = selected.length
    ? Object.fromEntries(selected.map((stream) => [stream.name, stream]))
    : null;
  // Without a selection all streams are taken; so that is what is shown as chosen.
  const choice: Choice =
    draft ??
    stored ??
    Object.fromEntries(streams.map((stream) => [stream.name, { name: stream.name }]));
  const wanted = (search.q ?? "").toLowerCase();
  const shown = streams.filter((stream) => stream.name.toLowerCase().includes(wanted));
  const chosenCount = streams.filter((stream) => choice[stream.name]).length;
  const change = (next: Choice) => {
    setSaved(false);
    setDraft(next);
  };
  const setOne = (name: string, next: StreamSelection | null) => {
    const rest = { ...choice };
    if (next) rest[name] = next;
    else delete rest[name];
    change(rest);
  };

  const save = useMutation({
    mutationFn: async (thenSync: boolean) => {
      const wantedStreams = streams.flatMap((stream) => choice[stream.name] ?? []);
      await calls.connections.selectStreams(connection.id, wantedStreams);
      return thenSync;
    },
    onSuccess: (thenSync) => {
      clearDraft();
      setSaved(true);
      void client.invalidateQueries({ queryKey: ["connections"] });
      if (thenSync) onSync();
      else toast.success("Streams saved");
    },
    onError: (error) =>
      toast.error("The streams could not be saved", { description: errorText(error) }),
  });

  const backfill = useMutation({
    mutationFn: (name: string) => calls.connections.backfill(connection.id, name),
    onSuccess: ({ sync_id }) => {
      void client.invalidateQueries({ queryKey: ["syncs"] });
      void navigate({ search: { tab: "syncs", sync: sync_id } });
    },
    onError: (error) =>
      toast.error("The stream could not be read again", { description: errorText(error) }),
  });

  if (!discovery.data) {
    return (
      <Card aria-label="Streams">
        {discovery.isFetching ? (
          <>
            <p role="status" className="px-6 pt-5 font-semibold">
              Looking at what the source offers…
            </p>
            <SkeletonRows rows={4} />
          </>
        ) : discovery.isError ? (
          <ErrorState
            error={discovery.error}
            title="The streams could not be discovered"
            retry={() => void discovery.refetch()}
          />
        ) : (
          <Empty
            icon={Radar}
            title="See what this source offers"
            action={
              <Button variant="primary" onClick={() => void discovery.refetch()}>
                Discover streams
              </Button>
            }
          >
            Discovery reads the shape of the source, no rows. Then choose what to sync; a connection
            without a choice takes everything.
          </Empty>
        )}
      </Card>
    );
  }
  const dirty = draft !== null && !saved;
  return (
    <Card aria-label="Streams">
      <div className="sticky top-14 z-10 flex flex-wrap items-center gap-3 rounded-t-2xl border-b border-line bg-surface p-4 md:top-0 md:px-6">
        <SearchBox
          label="Search streams"
          value={search.q ?? ""}
          onChange={(text) =>
            void navigate({
              search: (before) => ({ ...before, q: text || undefined }),
              replace: true,
            })
          }
          className="w-full sm:w-64"
        />
        <p className="text-sm font-semibold" role="status">
          {count(chosenCount)} of {count(streams.length)} chosen
          {shown.length < streams.length ? (
            <span className="font-medium text-muted">
              {" "}
              · {count(streams.length - shown.length)} hidden by the search
            </span>
          ) : null}
        </p>
        <div className="ml-auto flex flex-wrap gap-2">
          <Button
            small
            variant="ghost"
            onClick={() =>
              change({
                ...choice,
                ...Object.fromEntries(
                  shown.map((stream) => [
                    stream.name,
                    choice[stream.name] ?? { name: stream.name },
                  ]),
                ),
              })
            }
          >
            Choose shown
          </Button>
          <Button
            small
            variant="ghost"
            onClick={() => {
              const hidden = new Set(shown.map((stream) => stream.name));
              change(
                Object.fromEntries(Object.entries(choice).filter(([name]) => !hidden.has(name))),
              );
            }}
          >
            Clear shown
          </Button>
          <Button
            small
            variant="ghost"
            busy={discovery.isFetching}
            onClick={() => void discovery.refetch()}
          >
            Discover again
          </Button>
        </div>
      </div>
      {streams.length === 0 ? (
        <Empty icon={Radar} title="The source offers no stream">
          Check the path or the rights of the connection, then discover again.
        </Empty>
      ) : (
        <StreamList
          streams={shown}
          choice={choice}
          entities={ontology.data?.entities.map((entity) => entity.name) ?? []}
          onChange={setOne}
          onBackfill={(name) => backfill.mutate(name)}
        />
      )}
      <div className="sticky bottom-[calc(4.25rem+env(safe-area-inset-bottom))] flex flex-wrap items-center justify-end gap-2 rounded-b-2xl border-t border-line bg-surface p-4 md:bottom-0 md:px-6">
        <p className="mr-auto text-sm text-muted" role="status">
          {dirty ? "Not saved yet; kept on this device." : saved ? "Saved." : ""}
        </p>
        <Button
          busy={save.isPending && !save.variables}
          disabled={chosenCount === 0}
          onClick={() => save.mutate(false)}
        >
          Save
        </Button>
        <Button
          variant="primary"
          busy={save.isPending && save.variables}
          disabled={chosenCount === 0}
          onClick={() => save.mutate(true)}
        >
          Save and sync
        </Button>
      </div>
    </Card>
  );
}

interface ListProps {
  streams: DiscoveredStream[];
  choice: Choice;
  entities: string[];
  onChange: (name: string, next: StreamSelection | null) => void;
  onBackfill: (name: string) => void;
}

function StreamList(props: ListProps) {
  return props.streams.length > DRAW_ALL ? (
    <LongList {...props} />
  ) : (
    <ul>
      {props.streams.map((stream) => (
        <li key={stream.name} className="border-t border-line first:border-t-0">
          <StreamRow stream={stream} {...props} />
        </li>
      ))}
    </ul>
  );
}

function LongList(props: ListProps) {
  const frame = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: props.streams.length,
    getScrollElement: () => frame.current,
    estimateSize: () => 88,
    overscan: 8,
    getItemKey: (index) => props.streams[index]?.name ?? index,
  });
  return (
    <div
      ref={frame}
      role="region"
      aria-label="Streams of the source"
      tabIndex={0}
      className="max-h-[65vh] overflow-y-auto"
    >
      <ul className="relative" style={{ height: rows.getTotalSize() }}>
        {rows.getVirtualItems().map((row) => {
          const stream = props.streams[row.index];
          return stream ? (
            <li
              key={row.key}
              data-index={row.index}
              ref={rows.measureElement}
              className="absolute inset-x-0 top-0 border-t border-line"
              style={{ transform: `translateY(${row.start}px)` }}
              aria-setsize={props.streams.length}
              aria-posinset={row.index + 1}
            >
              <StreamRow stream={stream} {...props} />
            </li>
          ) : null;
        })}
      </ul>
    </div>
  );
}

/** The types that a field's values had, where they were of more than one. */
function mixed(stream: DiscoveredStream, field: string): string | null {
  const types = Object.entries(stream.sampled?.paths[field] ?? {});
  return types.length > 1
    ? types.map(([type, number]) => `${type} ${count(number)}`).join(", ")
    : null;
}

function StreamRow({
  stream,
  choice,
  entities,
  onChange,
  onBackfill,
}: ListProps & { stream: DiscoveredStream }) {
  const [open, setOpen] = useState(false);
  const [asking, setAsking] = useState(false);
  const chosen = choice[stream.name];
  // What is chosen is among the options even before the ontology is here.
  const known = chosen?.entity;
  const entityOptions =
    known && known !== "none" && !entities.includes(known) ? [known, ...entities] : entities;
  return (
    <div className="px-4 py-3 md:px-6">
      <div className="grid items-center gap-x-4 gap-y-2 md:grid-cols-[minmax(0,1fr)_14rem_14rem_auto]">
        <Check
          checked={Boolean(chosen)}
          onChange={(event) =>
            onChange(stream.name, event.target.checked ? { name: stream.name } : null)
          }
          label={
            <span>
              <span className="block font-bold break-all">{stream.name}</span>
              <span className="block text-xs text-muted">
                {many(stream.fields.length, "field")}
                {stream.estimated_rows ? ` · about ${count(stream.estimated_rows)} rows` : ""}
                {stream.sampled
                  ? ` · learnt from ${many(stream.sampled.documents, "document")}`
                  : ""}
                {stream.primary_key.length
                  ? ` · key ${stream.primary_key.join(", ")}`
                  : " · no key"}
              </span>
            </span>
          }
        />
        <Select
          aria-label={`Sync mode of ${stream.name}`}
          disabled={!chosen}
          value={chosen?.sync_mode ?? ""}
          onChange={(event) =>
            onChange(stream.name, {
              ...chosen,
              name: stream.name,
              sync_mode: (event.target.value || undefined) as SyncMode | undefined,
            })
          }
        >
          <option value="">Best the source can</option>
          {stream.sync_modes.map((mode) => (
            <option key={mode} value={mode}>
              {MODES[mode] ?? mode}
            </option>
          ))}
        </Select>
        <Select
          aria-label={`Entity of ${stream.name}`}
          disabled={!chosen}
          value={chosen?.entity ?? ""}
          onChange={(event) =>
            onChange(stream.name, {
              ...chosen,
              name: stream.name,
              entity: event.target.value || undefined,
            })
          }
        >
          <option value="">Found by matching</option>
          {entityOptions.map((entity) => (
            <option key={entity} value={entity}>
              {humanize(entity)}
            </option>
          ))}
          <option value="none">None: keep raw</option>
        </Select>
        <Button
          small
          variant="ghost"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
          aria-label={`Fields of ${stream.name}`}
        >
          Fields{" "}
          <ChevronDown
            aria-hidden
            className={cx("size-4 transition-transform", open && "rotate-180")}
          />
        </Button>
      </div>
      {open ? (
        <Button
          small
          disabled={!chosen}
          className="mt-3"
          onClick={() => setAsking(true)}
          aria-label={`Read ${stream.name} again from its beginning`}
        >
          <RotateCcw aria-hidden className="size-4" /> Read again from the beginning
        </Button>
      ) : null}
      <Confirm
        open={asking}
        onOpenChange={setAsking}
        title={`Read “${stream.name}” from its beginning?`}
        action="Read it again"
        onConfirm={() => onBackfill(stream.name)}
      >
        Every row of this stream is read anew, which may take a while and load the source. Records
        that are gone from it close once it is read. Other streams go on where they stand.
      </Confirm>
      {open ? (
        <ul className="mt-3 flex flex-wrap gap-2 pb-1">
          {stream.fields.slice(0, 200).map((field) => (
            <li
              key={field.name}
              className="inline-flex items-center gap-2 rounded-lg border border-line px-2 py-1 text-xs"
            >
              <span className="font-bold break-all">{field.name}</span>
              <span className="text-muted">{mixed(stream, field.name) ?? field.type}</span>
              {stream.primary_key.includes(field.name) ? <Badge tone="source">key</Badge> : null}
            </li>
          ))}
          {stream.fields.length > 200 ? (
            <li className="px-2 py-1 text-xs text-muted">
              and {count(stream.fields.length - 200)} more
            </li>
          ) : null}
        </ul>
      ) : null}
    </div>
  );
}
