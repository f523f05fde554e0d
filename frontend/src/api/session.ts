// Who is signed in. Kept in memory and in localStorage, shared between tabs.

import { useSyncExternalStore } from "react";
import { storage } from "@/lib/storage";
import type { Tenant, Tokens, User } from "./types";

const KEY = "aos.session";

export interface Session {
  user: User;
  tenant: Tenant;
  accessToken: string;
  refreshToken: string;
}

let current: Session | null = storage.get<Session>(KEY);
const listeners = new Set<() => void>();

function announce() {
  for (const listener of listeners) listener();
}

if (typeof window !== "undefined") {
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY && event.key !== null) return;
    current = storage.get<Session>(KEY);
    announce();
  });
}

export const session = {
  get: () => current,
  /** What another tab may have stored since: rotation makes the token in memory stale. */
  reload(): Session | null {
    current = storage.get<Session>(KEY);
    return current;
  },
  set(next: Session | null) {
    current = next;
    if (next) storage.set(KEY, next);
    else storage.remove(KEY);
    announce();
  },
  fromTokens(tokens: Tokens) {
    session.set({
      user: tokens.user ?? current?.user,
      tenant: tokens.tenant ?? current?.tenant,
      accessToken: tokens.access_token,
      refreshToken: tokens.refresh_token,
    });
  },
  subscribe(listener: () => void) {
    listeners.add(listener);
    return () => void listeners.delete(listener);
  },
};

export function useSession(): Session | null {
  return useSyncExternalStore(session.subscribe, session.get);
}
