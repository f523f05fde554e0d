import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link, Outlet, useLocation, useNavigate } from "@tanstack/react-router";
import { ChevronsUpDown, Command, Menu as MenuIcon } from "lucide-react";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { forgetWrites } from "@/api/client";
import { live, useLive } from "@/api/events";
import { followEvents, q } from "@/api/queries";
import { useSession } from "@/api/session";
import { useKey } from "@/lib/hooks";
import { buttonClass } from "@/ui/button";
import { cx } from "@/ui/cx";
import { Mark, Wordmark } from "./brand";
import { NAV, type NavItem } from "./nav";

// What opens on demand is loaded on demand: dialogs are a quarter of the script.
const Palette = lazy(() => import("./palette"));
const AccountDrawer = lazy(() => import("./account-drawer"));
const Shortcuts = lazy(() => import("./shortcuts"));

export function AppShell() {
  const client = useQueryClient();
  const navigate = useNavigate();
  const location = useLocation();
  const held = useSession();
  const tenantId = held?.tenant.id;
  const main = useRef<HTMLElement>(null);
  const [paletteOpen, setPaletteOpen] = useState(false);
  const [keysOpen, setKeysOpen] = useState(false);
  const [moreOpen, setMoreOpen] = useState(false);

  useEffect(() => {
    if (!tenantId) return;
    live.start();
    const unfollow = followEvents(client);
    return () => {
      unfollow();
      live.stop();
      client.clear();
      forgetWrites();
    };
  }, [client, tenantId]);

  // Signed out here, in another tab, or by the server.
  useEffect(() => {
    if (tenantId) return;
    const at = window.location.pathname + window.location.search;
    void navigate({ to: "/sign-in", search: at === "/" ? {} : { redirect: at } });
  }, [navigate, tenantId]);

  // A new page is announced by moving the focus to it, as a full page load would.
  const firstPath = useRef(location.pathname);
  useEffect(() => {
    setMoreOpen(false);
    if (firstPath.current === location.pathname) return;
    firstPath.current = "";
    main.current?.focus({ preventScroll: true });
  }, [location.pathname]);

  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
        event.preventDefault();
        setPaletteOpen((open) => !open);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
  useKey({
    "?": () => setKeysOpen(true),
    "/": (event) => {
      const search = document.querySelector<HTMLInputElement>("[data-page-search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
      search.select();
    },
  });

  const waiting = useQuery({ ...q.repairsWaiting(), enabled: Boolean(tenantId) });
  const badges: Partial<Record<NavItem["to"], string>> = waiting.data?.count
    ? { "/repairs": `${waiting.data.count}${waiting.data.more ? "+" : ""}` }
    : {};

  if (!held) return null;
  const items = NAV.flatMap((group) => group.items);
  return (
    <div className="md:grid md:min-h-dvh md:grid-cols-[4.5rem_minmax(0,1fr)] lg:grid-cols-[15rem_minmax(0,1fr)]">
      <a
        href="#main"
        className="fixed top-2 left-2 z-50 -translate-y-20 rounded-xl bg-accent px-4 py-3 font-bold text-white focus:translate-y-0"
      >
        Skip to the content
      </a>

      <aside
        className="sticky top-0 z-20 hidden h-dvh flex-col gap-2 overflow-y-auto border-r border-line bg-surface px-3 py-4 md:flex"
        aria-label="Side bar"
      >
        <Link
          to="/"
          className="mb-2 flex min-h-11 items-center gap-3 rounded-xl px-1.5 lg:px-2"
          aria-label="AutonomOS, to the dashboard"
        >
          <Mark />
          <span className="hidden lg:block">
            <Wordmark />
          </span>
        </Link>
        <nav aria-label="Main" className="flex flex-1 flex-col gap-4">
          {NAV.map((group) => (
            <div key={group.title}>
              <p className="mb-1 hidden px-3 text-xs font-bold text-muted lg:block">
                {group.title}
              </p>
              <ul className="flex flex-col gap-0.5">
                {group.items.map((item) => (
                  <li key={item.to}>
                    <SideLink item={item} badge={badges[item.to]} />
                  </li>
                ))}
              </ul>
            </div>
          ))}
        </nav>
        <button
          type="button"
          onClick={() => setPaletteOpen(true)}
          className="flex min-h-11 items-center justify-center gap-3 rounded-xl px-3 text-sm font-semibold text-muted hover:bg-hover hover:text-ink lg:justify-between"
        >
          <span className="flex items-center gap-3">
            <Command aria-hidden className="size-5 lg:size-4" />{" "}
            <span className="sr-only lg:not-sr-only">Jump to…</span>
          </span>
          <kbd className="hidden rounded-md border border-line bg-sunken px-1.5 py-0.5 text-xs lg:inline">
            Ctrl K
          </kbd>
        </button>
        <Account onOpen={() => setMoreOpen(true)} />
      </aside>

      <div className="flex min-w-0 flex-col pb-[calc(4.25rem+env(safe-area-inset-bottom))] md:pb-0">
        <header className="sticky top-0 z-20 flex h-14 items-center justify-between border-b border-line bg-surface/95 px-4 backdrop-blur md:hidden">
          <Link
            to="/"
            className="flex min-h-11 items-center gap-2.5"
            aria-label="AutonomOS, to the dashboard"
          >
            <Mark className="size-7" />
            <Wordmark />
          </Link>
          <div className="flex items-center gap-1">
            <LiveDot />
            <button
              type="button"
              className={buttonClass("ghost", false, true)}
              aria-label="Open the command palette"
              onClick={() => setPaletteOpen(true)}
            >
              <Command aria-hidden className="size-5" />
            </button>
          </div>
        </header>
        <main
          id="main"
          ref={main}
          tabIndex={-1}
          className="mx-auto w-full max-w-[90rem] flex-1 px-4 py-5 outline-none md:px-8 md:py-8"
        >
          <Outlet />
        </main>
      </div>

      <nav
        aria-label="Tabs"
        className="fixed inset-x-0 bottom-0 z-30 grid grid-cols-5 border-t border-line bg-surface pb-[env(safe-area-inset-bottom)] md:hidden"
      >
        {items
          .filter((item) => item.tab)
          .map((item) => (
            <Link
              key={item.to}
              to={item.to}
              activeOptions={{ exact: item.to === "/", includeSearch: false }}
              className="flex min-h-[4.25rem] flex-col items-center justify-center gap-1 text-[0.6875rem] font-bold -outline-offset-2"
              activeProps={{ className: "text-accent-strong", "aria-current": "page" }}
              inactiveProps={{ className: "text-muted" }}
            >
              <span className="relative">
                <item.icon aria-hidden className="size-[1.375rem]" />
                {badges[item.to] ? (
                  <span className="absolute -top-1.5 left-3.5 rounded-full bg-accent px-1.5 text-[0.625rem] leading-4 font-bold text-white">
                    {badges[item.to]}
                    <span className="sr-only"> waiting</span>
                  </span>
                ) : null}
              </span>
              {item.label}
            </Link>
          ))}
        <button
          type="button"
          aria-haspopup="dialog"
          onClick={() => setMoreOpen(true)}
          className="flex min-h-[4.25rem] flex-col items-center justify-center gap-1 text-[0.6875rem] font-bold text-muted -outline-offset-2"
        >
          <MenuIcon aria-hidden className="size-[1.375rem]" />
          More
        </button>
      </nav>

      <Suspense>
        {paletteOpen ? <Palette onClose={() => setPaletteOpen(false)} /> : null}
        {moreOpen ? (
          <AccountDrawer onClose={() => setMoreOpen(false)} onKeys={() => setKeysOpen(true)} />
        ) : null}
        {keysOpen ? <Shortcuts onClose={() => setKeysOpen(false)} /> : null}
      </Suspense>
    </div>
  );
}

function SideLink({ item, badge }: { item: NavItem; badge?: string }) {
  return (
    <Link
      to={item.to}
      title={item.label}
      activeOptions={{ exact: item.to === "/", includeSearch: false }}
      className="relative flex min-h-11 items-center justify-center gap-3 rounded-xl px-3 text-[0.9375rem] font-semibold transition-colors lg:min-h-10 lg:justify-start"
      activeProps={{ className: "bg-accent-soft text-accent-strong", "aria-current": "page" }}
      inactiveProps={{ className: "text-muted hover:bg-hover hover:text-ink" }}
    >
      <item.icon aria-hidden className="size-5" />
      <span className="sr-only lg:not-sr-only">{item.label}</span>
      {badge ? (
        <span className="absolute top-1 right-1 rounded-full bg-accent px-1.5 text-xs leading-5 font-bold text-white lg:static lg:ml-auto">
          {badge}
          <span className="sr-only"> waiting for review</span>
        </span>
      ) : null}
    </Link>
  );
}

const LIVE_TEXT = {
  off: "Not live",
  connecting: "Connecting",
  live: "Live",
  reconnecting: "Reconnecting",
} as const;

function LiveDot() {
  const { state } = useLive();
  return (
    <span
      role="status"
      className="inline-flex items-center gap-1.5 text-xs font-semibold text-muted"
    >
      <span
        aria-hidden
        className={cx("size-2 rounded-full", state === "live" ? "bg-source" : "bg-warn")}
      />
      {LIVE_TEXT[state]}
    </span>
  );
}

function Account({ onOpen }: { onOpen: () => void }) {
  const held = useSession();
  if (!held) return null;
  return (
    <div className="border-t border-line pt-2">
      <div className="hidden px-3 py-1.5 lg:block">
        <LiveDot />
      </div>
      <button
        type="button"
        aria-haspopup="dialog"
        onClick={onOpen}
        className="flex min-h-11 w-full items-center gap-3 rounded-xl px-1.5 text-left hover:bg-hover"
      >
        <span
          aria-hidden
          className="grid size-9 shrink-0 place-items-center rounded-full bg-agent-soft text-sm font-bold text-agent uppercase"
        >
          {held.user.email.charAt(0)}
        </span>
        <span className="sr-only min-w-0 flex-1 lg:not-sr-only">
          <span className="sr-only">Account: </span>
          <span className="block truncate text-sm font-bold">{held.tenant.name}</span>
          <span className="block truncate text-xs text-muted">{held.user.email}</span>
        </span>
        <ChevronsUpDown aria-hidden className="hidden size-4 shrink-0 text-muted lg:block" />
      </button>
    </div>
  );
}
