import {
  Activity,
  Cable,
  History,
  LayoutDashboard,
  ListChecks,
  ServerCog,
  Settings,
  Table2,
  Wrench,
  type LucideIcon,
} from "lucide-react";

export interface NavItem {
  to:
    | "/"
    | "/connections"
    | "/views"
    | "/repairs"
    | "/flow"
    | "/tasks"
    | "/history"
    | "/operations"
    | "/settings";
  label: string;
  icon: LucideIcon;
  /** One of the bottom tabs on a phone; the rest is under "More". */
  tab?: boolean;
}

export const NAV: { title: string; items: NavItem[] }[] = [
  {
    title: "Data",
    items: [
      { to: "/", label: "Dashboard", icon: LayoutDashboard, tab: true },
      { to: "/connections", label: "Connections", icon: Cable, tab: true },
      { to: "/views", label: "Views", icon: Table2, tab: true },
      { to: "/repairs", label: "Repairs", icon: Wrench, tab: true },
      { to: "/flow", label: "Live flow", icon: Activity },
    ],
  },
  {
    title: "Running it",
    items: [
      { to: "/tasks", label: "Tasks", icon: ListChecks },
      { to: "/history", label: "History", icon: History },
      { to: "/operations", label: "Operations", icon: ServerCog },
      { to: "/settings", label: "Settings", icon: Settings },
    ],
  },
];
