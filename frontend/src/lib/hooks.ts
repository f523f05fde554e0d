import { useEffect, useRef, useState } from "react";
import { storage } from "./storage";

/** The present time, renewed every `every` milliseconds while the page is visible. */
export function useNow(every = 10_000): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) setNow(Date.now());
    }, every);
    return () => clearInterval(timer);
  }, [every]);
  return now;
}

/** A value that follows `value` after `delay` milliseconds of quiet. */
export function useDebounced<T>(value: T, delay = 250): T {
  const [settled, setSettled] = useState(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(value), delay);
    return () => clearTimeout(timer);
  }, [value, delay]);
  return settled;
}

/** State that survives leaving the page and reload, until it is cleared. */
export function useDraft<T>(
  key: string,
  initial: T,
): [T, (next: T | ((before: T) => T)) => void, () => void] {
  const name = `aos.draft.${key}`;
  const [value, setValue] = useState<T>(() => storage.get<T>(name) ?? initial);
  const untouched = useRef(true);
  useEffect(() => {
    if (!untouched.current) storage.set(name, value);
  }, [name, value]);
  return [
    value,
    (next) => {
      untouched.current = false;
      setValue(next);
    },
    () => {
      untouched.current = true;
      storage.remove(name);
    },
  ];
}

/** Runs `act` when a plain key is pressed outside of any text field, dialog or menu. */
export function useKey(keys: Record<string, (event: KeyboardEvent) => void>) {
  const current = useRef(keys);
  useEffect(() => {
    current.current = keys;
  });
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
      const target = event.target as HTMLElement;
      if (target.closest("input, textarea, select, [contenteditable], [role=dialog], [role=menu]"))
        return;
      const act = current.current[event.key];
      if (act) {
        act(event);
      }
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}

export function useTitle(title: string) {
  useEffect(() => {
    document.title = `${title} · AutonomOS`;
  }, [title]);
}

export function useMedia(query: string): boolean {
  const [matches, setMatches] = useState(() => window.matchMedia(query).matches);
  useEffect(() => {
    const media = window.matchMedia(query);
    const onChange = () => setMatches(media.matches);
    onChange();
    media.addEventListener("change", onChange);
    return () => media.removeEventListener("change", onChange);
  }, [query]);
  return matches;
}
