/** A redirect parameter may lead nowhere but into this application. */
export function insidePath(path: string | undefined): string {
  return path && /^\/(?![/\\])/.test(path) && !path.startsWith("/sign-") ? path : "/";
}
