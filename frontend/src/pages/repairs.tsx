import { useQuery } from "@tanstack/react-query";
import { getRouteApi, Link } from "@tanstack/react-router";
import { ArrowLeft, Inbox } from "lucide-react";
import { useCallback, useState } from "react";
import { useGathered } from "@/api/events";
import { q } from "@/api/queries";
import type { LogEvent, Repair } from "@/api/types";
import { percent } from "@/lib/format";
import { useKey, useMedia } from "@/lib/hooks";
import { cx } from "@/ui/cx";
import { Card, Empty, SkeletonRows, Status, Time } from "@/ui/display";
import { ErrorState } from "@/ui/error";
import { Check, Segments } from "@/ui/form";
import { NewItems, PageHead } from "@/ui/page";
import { Bulk } from "./repairs/bulk";
import { RepairDetail } from "./repairs/detail";
import { repairTitle } from "./repairs/title";

const route = getRouteApi("/app/repairs");

const FILTERS = [
  { value: "pending_review", label: "Needs review" },
  { value: "held", label: "Held" },
  { value: "auto_applied", label: "By itself" },
  { value: "approved", label: "Approved" },
  { value: "rejected", label: "Rejected" },
  { value: "rolled_back", label: "Rolled back" },
  { value: "expired", label: "Expired" },
  { value: "all", label: "All" },
];

const isProposal = (event: LogEvent) => event.type === "RepairProposed";

export function Repairs() {
  const search = route.useSearch();
  const navigate = route.useNavigate();
  const wide = useMedia("(min-width: 64rem)");
  const status = search.status ?? "pending_review";
  const repairs = useQuery(
    q.repairs({
      status: status === "all" ? undefined : status,
      connection_id: search.connection_id,
      limit: 200,
    }),
  );
  const [gathered, resetGathered] = useGathered(isProposal);
  const list = repairs.data?.data ?? [];
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const open = useCallback(
    (id: string | undefined, replace = true) =>
      void navigate({ search: (before) => ({ ...before, id }), replace, resetScroll: false }),
    [navigate],
  );
  // On a wide screen the first entry is open beside the list, without being in the URL.
  const shownId = search.id ?? (wide ? list[0]?.id : undefined);
  const at = list.findIndex((repair) => repair.id === shownId);
  const move = (step: number) => {
    const next = list[Math.max(0, Math.min(list.length - 1, at + step))];
    if (!next) return;
    open(next.id);
    document.getElementById(`repair-${next.id}`)?.focus();
  };
  useKey({ j: () => move(1), k: () => move(-1), Escape: () => open(undefined) });

  const detailOnly = !wide && search.id;
  return (
    <>
      <PageHead
        title="Repairs"
        intro="When a source changes its shape, its mapping follows: by itself when it is sure, with your word when it is not."
      />
      <div className={cx("mb-4 flex flex-wrap items-center gap-3", detailOnly && "hidden")}>
        <Segments
          label="Which repairs"
          value={status}
          options={FILTERS}
          onChange={(value) =>
            void navigate({ search: { ...search, status: value, id: undefined } })
          }
        />
        <NewItems
          count={gathered}
          onShow={() => {
            resetGathered();
            void repairs.refetch();
          }}
        />
      </div>
      {detailOnly ? null : <Bulk list={list} chosen={chosen} onChoose={setChosen} />}
      {repairs.isPending ? (
        <Card>
          <SkeletonRows />
        </Card>
      ) : repairs.isError ? (
        <ErrorState error={repairs.error} retry={() => void repairs.refetch()} />
      ) : list.length === 0 && !search.id ? (
        <Card>
          <Empty
            icon={Inbox}
            title={status === "pending_review" ? "Nothing waits for you" : "No repair of this kind"}
          >
            {status === "pending_review"
              ? "Drift that can be repaired with certainty is repaired by itself; the rest comes here with its evidence."
              : "Choose another state above to see the others."}
          </Empty>
        </Card>
      ) : (
        <div className="grid items-start gap-4 md:gap-6 lg:grid-cols-[21rem_minmax(0,1fr)]">
          <Card
            aria-label="Repairs"
            className={cx(
              "lg:sticky lg:top-6 lg:max-h-[calc(100dvh-3rem)] lg:overflow-y-auto",
              detailOnly && "hidden",
            )}
          >
            <ul className="p-2">
              {list.map((repair) => (
                <RepairItem
                  key={repair.id}
                  repair={repair}
                  active={repair.id === shownId}
                  chosen={chosen.has(repair.id)}
                  onChoose={(is) => {
                    const next = new Set(chosen);
                    if (is) next.add(repair.id);
                    else next.delete(repair.id);
                    setChosen(next);
                  }}
                />
              ))}
            </ul>
          </Card>
          {shownId ? (
            <div className="min-w-0">
              {detailOnly ? (
                <Link
                  to="/repairs"
                  search={{ ...search, id: undefined }}
                  className="mb-2 inline-flex min-h-11 items-center gap-2 text-sm font-bold text-accent-strong"
                >
                  <ArrowLeft aria-hidden className="size-4" /> All repairs
                </Link>
              ) : null}
              <RepairDetail key={shownId} id={shownId} />
            </div>
          ) : null}
        </div>
      )}
    </>
  );
}

function RepairItem({
  repair,
  active,
  chosen,
  onChoose,
}: {
  repair: Repair;
  active: boolean;
  chosen: boolean;
  onChoose: (chosen: boolean) => void;
}) {
  const decidable = repair.status === "pending_review" || repair.status === "held";
  return (
    <li className="flex items-start">
      {decidable ? (
        <Check
          hideLabel
          className="mt-1.5"
          label={`Choose ${repairTitle(repair)} of ${repair.stream}`}
          checked={chosen}
          onChange={(event) => onChoose(event.target.checked)}
        />
      ) : null}
      <Link
        id={`repair-${repair.id}`}
        to="/repairs"
        search={(before) => ({ ...before, id: repair.id })}
        resetScroll={false}
        aria-current={active ? "true" : undefined}
        className={cx(
          "flex min-w-0 flex-1 flex-col gap-1.5 rounded-xl px-3 py-3 -outline-offset-2",
          active ? "bg-accent-soft" : "hover:bg-hover",
        )}
      >
        <span className="flex items-start justify-between gap-3">
          <span className="min-w-0 font-bold break-words">{repairTitle(repair)}</span>
          <span className="data mt-0.5">{percent(repair.confidence)}</span>
        </span>
        <span className="flex flex-wrap items-center gap-2 text-sm text-muted">
          <span className="min-w-0 truncate">{repair.stream}</span>
          <span aria-hidden>·</span>
          <Time at={repair.created_at} />
        </span>
        <span>
          <Status of={repair.status} />
        </span>
      </Link>
    </li>
  );
}
