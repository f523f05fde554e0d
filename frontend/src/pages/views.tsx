import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import {
  ArrowDown,
  ArrowUp,
  ChevronLeft,
  ChevronRight,
  Columns3,
  Download,
  SearchX,
  Table2,
  X,
} from "lucide-react";
import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { toast } from "sonner";
import * as calls from "@/api/calls";
import { useGathered } from "@/api/events";
import { q } from "@/api/queries";
import type { LogEvent } from "@/api/types";
import { capital, count, humanize } from "@/lib/format";
import { useDebounced, useKey, useMedia } from "@/lib/hooks";
import type { Search } from "@/router";
import { Button, buttonClass } from "@/ui/button";
import { Card, Empty, SkeletonRows } from "@/ui/display";
import { errorText, ErrorState } from "@/ui/error";
import { SearchBox, Select } from "@/ui/form";
import { Menu, MenuCheck, MenuItem, MenuLabel } from "@/ui/overlay";
import { Freshness, NewItems, PageHead, TabLinks } from "@/ui/page";
import { AsOf } from "./views/as-of";
import { AddFilter } from "./views/filters";
import { RowDrawer } from "./views/row-drawer";
import { RowCards, RowTable } from "./views/rows";
import {
  columnsOf,
  fieldsOf,
  filterName,
  OPERATORS,
  readState,
  rowsQuery,
  SIZES,
} from "./views/state";

const route = getRouteApi("/app/views/$entity");
const FORMATS: [string, string][] = [
  ["csv", "CSV"],
  ["ndjson", "NDJSON"],
  ["parquet", "Parquet"],
  ["arrow", "Arrow"],
];
/** Events that may have changed rows of some view. */
const changesRows = (event: LogEvent) =>
  event.aggregate_type === "identity" ||
  event.type === "RecordsIngested" ||
  event.type === "SnapshotCompleted" ||
  event.type === "FeedClosed" ||
  event.type === "MappingBound";

export function Views() {
  const { entity: asked } = route.useParams();
  const search = route.useSearch() as Search;
  const navigate = route.useNavigate();
  const state = readState(search);
  const wide = useMedia("(min-width: 48rem)");
  const views = useQuery(q.views());
  const ontology = useQuery(q.ontology());
  const definition = ontology.data?.entities.find(
    (one) => one.name === asked || one.plural === asked,
  );
  const entity = definition?.name ?? asked;

  const [typed, setTyped] = useState(state.q);
  const settled = useDebounced(typed);
  const go = useCallback(
    (change: Search, options: { replace?: boolean; keepPage?: boolean } = {}) =>
      navigate({
        search: (before: Search) => ({
          ...before,
          ...(options.keepPage ? {} : { cursor: undefined, page: undefined }),
          ...change,
        }),
        replace: options.replace ?? false,
        resetScroll: false,
      }),
    [navigate],
  );
  // What is typed goes to the URL; what the URL says (back, a link) goes to the box.
  const inUrl = useRef(state.q);
  useEffect(() => {
    if (settled === inUrl.current) return;
    inUrl.current = settled;
    void go({ q: settled || undefined, row: undefined }, { replace: true });
  }, [go, settled]);
  useEffect(() => {
    if (state.q === inUrl.current) return;
    inUrl.current = state.q;
    setTyped(state.q);
  }, [state.q]);

  const query = rowsQuery(state);
  const rows = useQuery({
    queryKey: ["rows", entity, query],
    queryFn: ({ signal }) => calls.dcl.rows(entity, query, signal),
    placeholderData: (before, previous) =>
      previous?.queryKey[1] === entity ? keepPreviousData(before) : undefined,
  });
  const [gathered, resetGathered] = useGathered(changesRows);
  const data = useMemo(() => rows.data?.data ?? [], [rows.data]);
  const fields = useMemo(() => fieldsOf(definition, data), [definition, data]);
  const columns = columnsOf(state, fields, data);
  const next = rows.data?.meta?.next_cursor ?? null;

  // Cursors of the pages behind us, so that "previous" goes back by one.
  const cursors = useRef(new Map<string, string | null>());
  const listKey = JSON.stringify({ ...query, cursor: null, entity });
  cursors.current.set(`${listKey}#${state.page}`, state.cursor);
  const previous = cursors.current.get(`${listKey}#${state.page - 1}`);

  const [active, setActive] = useState(-1);
  useEffect(() => setActive(-1), [rows.data]);
  const move = (step: number) => {
    const to = Math.max(0, Math.min(data.length - 1, active + step));
    setActive(to);
    document.querySelectorAll<HTMLElement>("[data-row-link]")[to]?.focus();
  };
  useKey({ j: () => move(1), k: () => move(-1) });

  const total = rows.data?.meta?.total ?? null;
  const known = views.data?.find((view) => view.entity === entity);
  const plain = state.filters.length === 0 && !state.q && !state.asOf;
  const shownTotal = total ?? (plain ? (known?.rows ?? null) : null);
  const first = (state.page - 1) * state.size + 1;

  const exportAs = async (format: string) => {
    const started = toast.loading(
      `Exporting ${humanize(definition?.plural ?? entity).toLowerCase()}…`,
    );
    try {
      // The whole view: a search or a filter is for looking, an export for taking along.
      const blob = await calls.dcl.export(entity, format, {
        sort: query.sort,
        as_of: query.as_of,
      });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = `${definition?.plural ?? entity}.${format}`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      toast.success("The export is ready", { id: started, description: link.download });
    } catch (error) {
      toast.error("The export failed", { id: started, description: errorText(error) });
    }
  };

  const tabs = (views.data ?? []).filter((view) => view.rows > 0 || view.entity === entity);
  return (
    <>
      <PageHead
        title={humanize(definition?.plural ?? entity)}
        intro={capital(definition?.description) ?? "Unified rows, put together from all sources."}
        actions={
          <>
            <Menu
              trigger={
                <Button>
                  <Columns3 aria-hidden className="size-4" /> Columns
                </Button>
              }
            >
              <MenuLabel>
                {columns.length} of {fields.length} shown
              </MenuLabel>
              {fields.map((field) => (
                <MenuCheck
                  key={field}
                  checked={columns.includes(field)}
                  onChange={(checked) => {
                    const kept = fields.filter((name) =>
                      name === field ? checked : columns.includes(name),
                    );
                    void go(
                      { columns: kept.join(",") || undefined },
                      { replace: true, keepPage: true },
                    );
                  }}
                >
                  {humanize(field)}
                </MenuCheck>
              ))}
            </Menu>
            <Menu
              trigger={
                <Button>
                  <Download aria-hidden className="size-4" /> Export
                </Button>
              }
            >
              <MenuLabel>All rows{state.asOf ? ", as they were then" : ""}</MenuLabel>
              {FORMATS.map(([format, label]) => (
                <MenuItem key={format} onSelect={() => void exportAs(format)}>
                  {label}
                </MenuItem>
              ))}
            </Menu>
          </>
        }
      />
      {views.isPending ? (
        // As high as the tabs to come.
        <div className="mb-4 h-[2.8125rem] border-b border-line md:mb-6" />
      ) : tabs.length > 1 ? (
        <TabLinks
          label="Entities"
          tabs={tabs.map((view) => ({
            key: view.entity,
            active: view.entity === entity,
            label: (
              <>
                {humanize(view.plural ?? view.entity)}
                <span className="data text-muted">{count(view.rows)}</span>
              </>
            ),
            link: { to: "/views/$entity", params: { entity: view.entity }, search: {} },
          }))}
        />
      ) : null}

      <div className="mb-3 flex flex-wrap items-center gap-2 md:gap-3">
        <SearchBox
          label={`Search ${humanize(definition?.plural ?? entity).toLowerCase()}`}
          value={typed}
          onChange={setTyped}
          className="w-full sm:w-72"
        />
        <AddFilter
          fields={fields}
          onAdd={(field, operator, value) => void go({ [filterName(field, operator)]: value })}
        />
        <AsOf value={state.asOf} onChange={(asOf) => void go({ as_of: asOf ?? undefined })} />
        {wide ? null : (
          <Select
            aria-label="Sort by"
            className="!w-auto"
            value={search.sort ?? ""}
            onChange={(event) => void go({ sort: event.target.value || undefined })}
          >
            <option value="">Unsorted</option>
            {fields.flatMap((field) => [
              <option key={field} value={field}>{`${humanize(field)} ↑`}</option>,
              <option key={`-${field}`} value={`-${field}`}>{`${humanize(field)} ↓`}</option>,
            ])}
          </Select>
        )}
        <div className="ml-auto flex flex-wrap items-center gap-3">
          <NewItems
            count={state.asOf ? 0 : gathered}
            what={gathered === 1 ? "change, show it" : "changes, show them"}
            onShow={() => {
              resetGathered();
              void rows.refetch();
            }}
          />
          <Freshness updatedAt={rows.dataUpdatedAt} fetching={rows.isFetching} />
        </div>
      </div>
      {state.filters.length > 0 ? (
        <ul aria-label="Filters" className="mb-3 flex flex-wrap gap-2">
          {state.filters.map(({ field, operator, value }) => {
            const words = `${humanize(field)} ${OPERATORS[operator]}${operator === "is_null" ? "" : ` ${value}`}`;
            return (
              <li key={filterName(field, operator)}>
                <button
                  type="button"
                  onClick={() => void go({ [filterName(field, operator)]: undefined })}
                  className="inline-flex min-h-11 items-center gap-2 rounded-full bg-entity-soft px-4 text-sm font-bold text-entity md:pointer-fine:min-h-8"
                >
                  <span className="sr-only">Remove the filter</span> {words}{" "}
                  <X aria-hidden className="size-4" />
                </button>
              </li>
            );
          })}
        </ul>
      ) : null}

      <Card
        aria-label={`Rows of ${entity}`}
        className={wide ? "" : "border-0 !bg-transparent !shadow-none"}
      >
        {rows.isPending ? (
          <SkeletonRows rows={10} className="h-10" />
        ) : rows.isError ? (
          <ErrorState error={rows.error} retry={() => void rows.refetch()} />
        ) : data.length === 0 ? (
          plain ? (
            <Empty
              icon={Table2}
              title={`No ${humanize(definition?.plural ?? entity).toLowerCase()} yet`}
              action={
                <Link to="/connections" className={buttonClass("primary")}>
                  Go to the connections
                </Link>
              }
            >
              Rows appear here when a synced stream is mapped to this entity.
            </Empty>
          ) : (
            <Empty
              icon={SearchX}
              title="No row matches"
              action={
                <Link
                  to="/views/$entity"
                  params={{ entity }}
                  search={{}}
                  className={buttonClass("secondary")}
                >
                  Show all rows
                </Link>
              }
            >
              {state.asOf
                ? "At that time, with this search and these filters, the view was empty."
                : "The search and the filters hide all rows."}
            </Empty>
          )
        ) : wide ? (
          <RowTable
            rows={data}
            columns={columns}
            definition={definition}
            entity={entity}
            sort={state.sort}
            openRow={state.row}
            onSort={(sort) => void go({ sort })}
            icons={{ ascending: ArrowUp, descending: ArrowDown }}
          />
        ) : (
          <RowCards rows={data} columns={columns} definition={definition} entity={entity} />
        )}
      </Card>

      {data.length > 0 ? (
        <nav aria-label="Pages" className="mt-4 flex flex-wrap items-center justify-between gap-3">
          <p className="data text-muted" role="status">
            {count(first)} – {count(first + data.length - 1)}
            {shownTotal !== null ? ` of ${count(shownTotal)}` : next ? " of more" : ""}
          </p>
          <div className="flex flex-wrap items-center gap-2">
            <Select
              aria-label="Rows per page"
              className="!w-auto"
              value={state.size}
              onChange={(event) => void go({ size: event.target.value })}
            >
              {SIZES.map((size) => (
                <option key={size} value={size}>
                  {size} rows
                </option>
              ))}
            </Select>
            <Button
              disabled={state.page === 1}
              onClick={() =>
                void go(
                  previous === undefined
                    ? {}
                    : {
                        cursor: previous ?? undefined,
                        page: state.page > 2 ? String(state.page - 1) : undefined,
                      },
                )
              }
            >
              <ChevronLeft aria-hidden className="size-4" />{" "}
              {previous === undefined && state.page > 1 ? "First" : "Previous"}
            </Button>
            <Button
              disabled={!next}
              onClick={() => void go({ cursor: next ?? undefined, page: String(state.page + 1) })}
            >
              Next <ChevronRight aria-hidden className="size-4" />
            </Button>
          </div>
        </nav>
      ) : null}
      <RowDrawer
        entity={entity}
        definition={definition}
        rowId={state.row}
        asOf={state.asOf}
        listed={data.find((row) => row.id === state.row)}
        onClose={() => void go({ row: undefined }, { keepPage: true })}
      />
    </>
  );
}
