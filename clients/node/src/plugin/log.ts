/** What a host says of itself. */

export type Level = "debug" | "info" | "warn" | "error";
export type Log = (level: Level, message: string, facts?: Readonly<Record<string, unknown>>) => void;

/** One JSON object a line, on standard error, where the supervisor reads it. */
export const standardError: Log = (level, message, facts = {}) => {
  if (level === "debug") {
    return;
  }
  const said = Object.fromEntries(Object.entries(facts).map(([key, value]) => [key, plain(value)]));
  process.stderr.write(`${JSON.stringify({ level: level.toUpperCase(), message, ...said })}\n`);
};

function plain(value: unknown): unknown {
  if (value instanceof Error) {
    return value.message;
  }
  return typeof value === "bigint" ? value.toString() : value;
}
