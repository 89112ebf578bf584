import assert from "node:assert/strict";
import { test } from "node:test";
import { words } from "../examples/words/words.js";
import { TestHost } from "../src/testing/index.js";

test("words are counted, and no words are a failure with a reason", async (t) => {
  const host = await TestHost.start(words);
  t.after(() => host.stop());

  assert.equal(await host.call("count", { text: "two  words" }), 2);
  await assert.rejects(host.call("count", { text: "" }), { reason: "TEXT_EMPTY" });
});
