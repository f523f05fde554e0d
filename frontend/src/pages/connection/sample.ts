// A small table to try things with, uploaded like any other file and named as what it is.

const FIRST = ["Bright", "North", "Silver", "Green", "Iron"];
const SECOND = ["field", "river", "gate", "light", "works"];
const KIND = ["Energy", "Foods", "Labs", "Motors"];

export function sampleFile(): File {
  const rows = FIRST.flatMap((first, f) =>
    SECOND.map((second, s) => {
      const n = f * SECOND.length + s;
      const name = `${first}${second} ${KIND[n % KIND.length]}`;
      const site = `https://www.${first.toLowerCase()}${second}.example`;
      const created = `2024-${String(1 + (n % 12)).padStart(2, "0")}-${String(1 + n).padStart(2, "0")}`;
      return [
        `A-${1000 + n}`,
        name,
        site,
        250_000 + n * 41_500,
        12 + n * 7,
        KIND[n % KIND.length],
        created,
      ].join(",");
    }),
  );
  const head = "Account ID,Account Name,Website,Annual Revenue,Employees,Industry,Created Date";
  return new File([[head, ...rows].join("\n")], "sample_accounts.csv", { type: "text/csv" });
}
