/** JSON in which integers of any size stay exact: those that a number cannot hold are bigints. */

import { parse, stringify } from "lossless-json";

const LONG = /\d{16}/;
const INTEGER = /^-?\d+$/;

/** Reads a text; throws SyntaxError. */
export function parseJson(text: string): unknown {
  if (!LONG.test(text)) {
    return JSON.parse(text);
  }
  return parse(text, undefined, numberOf);
}

/** Writes a value; throws TypeError where JSON has nothing for it. */
export function stringifyJson(value: unknown): string {
  const text = value === undefined ? "null" : written(value);
  if (text === undefined) {
    throw new TypeError(`JSON has nothing for a ${typeof value}`);
  }
  if (text.includes("null")) {
    refuseEndless(value); // which JSON.stringify makes null of, in silence
  }
  return text;
}

function numberOf(text: string): number | bigint {
  const number = Number(text);
  return INTEGER.test(text) && !Number.isSafeInteger(number) ? BigInt(text) : number;
}

function written(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch (error) {
    if (error instanceof TypeError && error.message.includes("BigInt")) {
      return stringify(value);
    }
    throw error;
  }
}

function refuseEndless(value: unknown): void {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw new TypeError(`JSON has no ${value}`);
  }
  if (typeof value === "object" && value !== null) {
    for (const one of Object.values(value)) {
      refuseEndless(one);
    }
  }
}
