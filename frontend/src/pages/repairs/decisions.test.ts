// Decisions about several repairs: what fails keeps nothing else from being taken.
import { expect, test } from "vitest";
import { decideAll, undoable, type Outcome } from "./decisions";

const repair = (id: string) => ({ id, proposal: { changes: [] } });

test("each repair is decided by itself, in order, and says what came of it", async () => {
  const taken: string[] = [];
  const seen: Outcome[] = [];
  const take = (id: string) => {
    taken.push(id);
    return id === "b" ? Promise.reject(new Error("it is decided already")) : Promise.resolve();
  };
  const outcomes = await decideAll(
    [repair("a"), repair("b"), repair("c")],
    "approve",
    (outcome) => seen.push(outcome),
    take,
  );
  expect(taken).toEqual(["a", "b", "c"]);
  expect(seen).toEqual(outcomes);
  expect(outcomes.map((one) => one.failed)).toEqual([
    undefined,
    "it is decided already",
    undefined,
  ]);
  // The last approved one is taken back first; what failed or was rejected is not.
  expect(undoable(outcomes).map((one) => one.id)).toEqual(["c", "a"]);
  const rejected = await decideAll([repair("d")], "reject", () => undefined, take);
  expect(undoable(rejected)).toEqual([]);
});
