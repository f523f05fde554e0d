// The pages and what of their state is in the URL. Search values are plain text, so that links
// can be read, typed and shared.

import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { session } from "./api/session";
import { insidePath } from "./lib/inside-path";
import { AppShell } from "./shell/app-shell";
import { NotFound, RouteError, RoutePending } from "./shell/route-states";

export type Search = Record<string, string | undefined>;

/** Keeps only the named parameters, as text. */
function only<const K extends string>(...names: K[]) {
  return (search: Record<string, unknown>): Partial<Record<K, string>> => {
    const kept: Partial<Record<K, string>> = {};
    for (const name of names) {
      const value = search[name];
      if (typeof value === "string" && value !== "") kept[name] = value;
    }
    return kept;
  };
}

const rootRoute = createRootRoute({
  component: Outlet,
  notFoundComponent: NotFound,
  errorComponent: RouteError,
});

function leaveWhenSignedIn({ search }: { search: Search }) {
  if (session.get()) throw redirect({ href: insidePath(search.redirect) });
}

const signIn = createRoute({
  getParentRoute: () => rootRoute,
  path: "/sign-in",
  validateSearch: only("redirect"),
  beforeLoad: leaveWhenSignedIn,
  component: lazyRouteComponent(() => import("./pages/sign-in"), "SignIn"),
});
const signUp = createRoute({
  getParentRoute: () => rootRoute,
  path: "/sign-up",
  validateSearch: only("redirect"),
  beforeLoad: leaveWhenSignedIn,
  component: lazyRouteComponent(() => import("./pages/sign-in"), "SignUp"),
});

const app = createRoute({
  getParentRoute: () => rootRoute,
  id: "app",
  beforeLoad: ({ location }) => {
    if (!session.get()) {
      throw redirect({
        to: "/sign-in",
        search: location.href === "/" ? {} : { redirect: location.href },
      });
    }
  },
  component: AppShell,
});

const dashboard = createRoute({
  getParentRoute: () => app,
  path: "/",
  component: lazyRouteComponent(() => import("./pages/dashboard"), "Dashboard"),
});
const connections = createRoute({
  getParentRoute: () => app,
  path: "/connections",
  validateSearch: only("q", "status"),
  component: lazyRouteComponent(() => import("./pages/connections"), "Connections"),
});
const connectionNew = createRoute({
  getParentRoute: () => app,
  path: "/connections/new",
  validateSearch: only("connector"),
  component: lazyRouteComponent(() => import("./pages/connection-new"), "ConnectionNew"),
});
const connection = createRoute({
  getParentRoute: () => app,
  path: "/connections/$connectionId",
  validateSearch: only("tab", "q", "stream", "sync"),
  component: lazyRouteComponent(() => import("./pages/connection"), "ConnectionPage"),
});
const repairs = createRoute({
  getParentRoute: () => app,
  path: "/repairs",
  validateSearch: only("status", "id", "connection_id"),
  component: lazyRouteComponent(() => import("./pages/repairs"), "Repairs"),
});
const views = createRoute({
  getParentRoute: () => app,
  path: "/views",
  component: lazyRouteComponent(() => import("./pages/views-index"), "ViewsIndex"),
});
const view = createRoute({
  getParentRoute: () => app,
  path: "/views/$entity",
  validateSearch: (search: Record<string, unknown>) => {
    const kept: Search = only(
      "q",
      "sort",
      "cursor",
      "page",
      "as_of",
      "row",
      "columns",
      "size",
    )(search);
    for (const [name, value] of Object.entries(search)) {
      if (/^filter\[\w+\](\[\w+\])?$/.test(name) && typeof value === "string") kept[name] = value;
    }
    return kept;
  },
  component: lazyRouteComponent(() => import("./pages/views"), "Views"),
});
const flow = createRoute({
  getParentRoute: () => app,
  path: "/flow",
  validateSearch: only("q", "node"),
  component: lazyRouteComponent(() => import("./pages/flow"), "Flow"),
});
const tasks = createRoute({
  getParentRoute: () => app,
  path: "/tasks",
  validateSearch: only("status", "id"),
  component: lazyRouteComponent(() => import("./pages/tasks"), "Tasks"),
});
const history = createRoute({
  getParentRoute: () => app,
  path: "/history",
  validateSearch: only("aggregate_type", "aggregate_id", "types", "actor", "from", "to", "event"),
  component: lazyRouteComponent(() => import("./pages/history"), "History"),
});
const settings = createRoute({
  getParentRoute: () => app,
  path: "/settings",
  validateSearch: only("tab"),
  component: lazyRouteComponent(() => import("./pages/settings"), "Settings"),
});
const operations = createRoute({
  getParentRoute: () => app,
  path: "/operations",
  component: lazyRouteComponent(() => import("./pages/operations"), "Operations"),
});

const routeTree = rootRoute.addChildren([
  signIn,
  signUp,
  app.addChildren([
    dashboard,
    connections,
    connectionNew,
    connection,
    repairs,
    views,
    view,
    flow,
    tasks,
    history,
    settings,
    operations,
  ]),
]);

export const router = createRouter({
  routeTree,
  defaultPreload: "intent",
  scrollRestoration: true,
  defaultPendingComponent: RoutePending,
  defaultPendingMs: 150,
  defaultErrorComponent: RouteError,
  parseSearch: (text) => Object.fromEntries(new URLSearchParams(text)),
  stringifySearch: (search) => {
    const parameters = new URLSearchParams();
    for (const [name, value] of Object.entries(search)) {
      if (value !== undefined && value !== "") parameters.set(name, String(value));
    }
    const text = parameters.toString();
    return text === "" ? "" : `?${text}`;
  },
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
