/** What an operation takes and returns: a Zod type, a JSON Schema (as TypeBox makes them too), or anything, unread. */

import Ajv from "ajv/dist/2020.js";
import { toJSONSchema } from "zod";
import { type $ZodIssue, type $ZodType, safeParse } from "zod/v4/core";
import { Misfit } from "./failure.js";

/** A JSON Schema of draft 2020-12. */
export type JsonSchema = { readonly [keyword: string]: unknown };

/** Given as a type, it lets a Payload pass unread, so that protobuf or images can travel. */
export const raw = Symbol("raw");
export type Raw = typeof raw;

export type Schema<T> = $ZodType<T> | JsonSchema;

/** One of them, made ready: the text for the manifest, and the check of a value. */
export interface Checked {
  /** Empty if nothing is known of the values. */
  readonly text: string;
  readonly isRaw: boolean;
  /** The value as the operation gets it, or what is sent of it; throws Misfit. */
  check(value: unknown): unknown;
}

const ANYTHING: Checked = { text: "", isRaw: false, check: (value) => value };
const UNREAD: Checked = { text: "", isRaw: true, check: (value) => value };

/** `io` says of a Zod type with defaults and transformations which end of it travels; throws if it has no JSON Schema. */
export function checked(schema: Schema<unknown> | Raw | undefined, io: "input" | "output"): Checked {
  if (schema === undefined) {
    return ANYTHING;
  }
  if (schema === raw) {
    return UNREAD;
  }
  return isZod(schema) ? ofZod(schema, io) : ofJsonSchema(schema);
}

function isZod(schema: Schema<unknown>): schema is $ZodType {
  return "_zod" in schema;
}

function ofZod(type: $ZodType, io: "input" | "output"): Checked {
  const text = JSON.stringify(
    toJSONSchema(type, {
      io,
      unrepresentable: "any",
      override: ({ zodSchema, jsonSchema }) => {
        if (zodSchema._zod.def.type === "bigint") {
          jsonSchema.type = "integer"; // of any size, as JSON has them
        }
      },
    }),
  );
  return { text, isRaw: false, check: io === "input" ? (value) => parsed(type, value) : (value) => value };
}

/** JSON has one kind of integer and JavaScript two: where the type expects the other kind, the value becomes that. */
function parsed(type: $ZodType, value: unknown): unknown {
  let result = safeParse(type, value);
  if (!result.success && result.error.issues.some((issue) => isOtherInteger(issue, at(value, issue.path)))) {
    const converted = structuredClone({ root: value });
    for (const issue of result.error.issues) {
      convert(converted, issue);
    }
    result = safeParse(type, converted.root);
  }
  if (result.success) {
    return result.data;
  }
  const issue = result.error.issues[0];
  throw new Misfit(`${place(issue?.path ?? [])}: ${issue?.message}`);
}

function isOtherInteger(issue: $ZodIssue, value: unknown): boolean {
  if (issue.code !== "invalid_type") {
    return false;
  }
  return issue.expected === "bigint"
    ? Number.isSafeInteger(value)
    : issue.expected === "number" && typeof value === "bigint";
}

function convert(holder: { root: unknown }, issue: $ZodIssue): void {
  const path = ["root", ...issue.path];
  const last = path.pop() as PropertyKey;
  const owner = at(holder, path) as Record<PropertyKey, unknown>;
  const value = owner[last];
  if (isOtherInteger(issue, value)) {
    owner[last] = typeof value === "bigint" ? Number(value) : BigInt(value as number);
  }
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((holder, key) => (holder as Record<PropertyKey, unknown> | undefined)?.[key], value);
}

function ofJsonSchema(schema: JsonSchema): Checked {
  const validate = new Ajv.default({ strict: false, allErrors: false }).compile(schema);
  return {
    text: JSON.stringify(schema),
    isRaw: false,
    check: (value) => {
      if (!validate(approximated(value))) {
        const error = validate.errors?.[0];
        throw new Misfit(`${place((error?.instancePath ?? "").split("/").slice(1))}: ${error?.message}`);
      }
      return value;
    },
  };
}

/** The same with numbers for bigints, which a validator does not know; what is passed on stays exact. */
function approximated(value: unknown): unknown {
  if (typeof value === "bigint") {
    return Number(value);
  }
  if (Array.isArray(value)) {
    return value.map(approximated);
  }
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, approximated(one)]));
  }
  return value;
}

function place(path: readonly PropertyKey[]): string {
  return ["$", ...path.map(String)].join(".");
}
