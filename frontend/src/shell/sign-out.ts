import * as calls from "@/api/calls";
import { session } from "@/api/session";

export async function signOut() {
  const held = session.get();
  try {
    if (held) await calls.auth.logout(held.refreshToken);
  } catch {
    // The server may be away; here the session ends all the same.
  }
  session.set(null);
}
