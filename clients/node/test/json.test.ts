import assert from "node:assert/strict";
import { test } from "node:test";
import { parseJson, stringifyJson } from "../src/json.js";
import { Payload } from "../src/payload.js";

test("integers of any size pass exactly", () => {
  for (const text of [
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551615",
    `${2n ** 200n}`,
    "0",
    "-7",
  ]) {
    assert.equal(stringifyJson(parseJson(text)), text);
  }
  assert.deepEqual(parseJson('{"small":1,"large":9007199254740993}'), { small: 1, large: 9007199254740993n });
});

test("fractions stay numbers, whatever stands beside them", () => {
  assert.deepEqual(parseJson("[0.1,1e308,12345678901234567890,1.5e300]"), [0.1, 1e308, 12345678901234567890n, 1.5e300]);
});

test("what JSON has nothing for is refused, and never sent as null", () => {
  for (const value of [
    Number.NaN,
    [Number.POSITIVE_INFINITY],
    { deep: [{ deeper: -Infinity }] },
    () => 1,
    Symbol("s"),
  ]) {
    assert.throws(() => stringifyJson(value), TypeError);
  }
  assert.equal(stringifyJson({ left: null, out: undefined }), '{"left":null}');
  assert.equal(stringifyJson(undefined), "null");
});

test("a key that JavaScript knows otherwise is a key", () => {
  const text = '{"__proto__":{"polluted":12345678901234567890},"constructor":1}';

  const value = parseJson(text) as Record<string, unknown>;

  assert.equal(({} as Record<string, unknown>).polluted, undefined);
  assert.equal(value.polluted, undefined);
});

test("a payload of another type, or of broken UTF-8, is not read as JSON", () => {
  assert.throws(() => new Payload(Buffer.from("1"), "image/png").decode(), /image\/png/);
  assert.throws(() => new Payload(Uint8Array.of(0x22, 0xff, 0x22)).decode());
  assert.deepEqual(new Payload(Buffer.from("[1]"), "application/problem+json; charset=utf-8").decode(), [1]);
});
