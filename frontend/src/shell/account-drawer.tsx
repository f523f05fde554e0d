import { Link } from "@tanstack/react-router";
import { Keyboard, LogOut, Moon, Sun, SunMoon } from "lucide-react";
import { useSession } from "@/api/session";
import { theme, useTheme, type ThemeChoice } from "@/lib/theme";
import { cx } from "@/ui/cx";
import { Drawer } from "@/ui/overlay";
import { NAV } from "./nav";
import { signOut } from "./sign-out";

const THEMES: { value: ThemeChoice; label: string; icon: typeof Sun }[] = [
  { value: "system", label: "Auto", icon: SunMoon },
  { value: "light", label: "Light", icon: Sun },
  { value: "dark", label: "Dark", icon: Moon },
];
const ROW = "flex min-h-12 w-full items-center gap-4 rounded-xl px-3 font-semibold hover:bg-hover";

/** The rest of the pages on a phone; theme, keys and sign-out everywhere. */
export default function AccountDrawer({
  onClose,
  onKeys,
}: {
  onClose: () => void;
  onKeys: () => void;
}) {
  const held = useSession();
  const chosen = useTheme();
  if (!held) return null;
  return (
    <Drawer
      open
      onOpenChange={(open) => !open && onClose()}
      title={held.tenant.name}
      description={`${held.user.email} · ${held.user.role}`}
    >
      <ul className="p-3 md:hidden">
        {NAV.flatMap((group) => group.items)
          .filter((item) => !item.tab)
          .map((item) => (
            <li key={item.to}>
              <Link to={item.to} className={ROW} onClick={onClose}>
                <item.icon aria-hidden className="size-5 text-muted" />
                {item.label}
              </Link>
            </li>
          ))}
      </ul>
      <div className="border-t border-line p-3 md:border-t-0">
        <p id="theme-label" className="px-3 pb-1 text-sm font-bold text-muted">
          Theme
        </p>
        <div role="group" aria-labelledby="theme-label" className="flex items-center gap-1 pb-2">
          {THEMES.map(({ value, label, icon: Icon }) => (
            <button
              key={value}
              type="button"
              aria-pressed={chosen === value}
              onClick={() => theme.choose(value)}
              className={cx(
                "flex min-h-11 flex-1 items-center justify-center gap-2 rounded-xl text-sm font-semibold",
                chosen === value
                  ? "bg-accent-soft text-accent-strong"
                  : "text-muted hover:bg-hover",
              )}
            >
              <Icon aria-hidden className="size-4" />
              {label}
            </button>
          ))}
        </div>
        <button
          type="button"
          className={cx(ROW, "hidden md:flex")}
          onClick={() => {
            onClose();
            onKeys();
          }}
        >
          <Keyboard aria-hidden className="size-5 text-muted" />
          Keyboard shortcuts
        </button>
        <button type="button" onClick={() => void signOut()} className={ROW}>
          <LogOut aria-hidden className="size-5 text-muted" />
          Sign out
        </button>
      </div>
    </Drawer>
  );
}
