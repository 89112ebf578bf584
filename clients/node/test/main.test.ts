import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { type TestContext, test } from "node:test";
import { fileURLToPath } from "node:url";

const PROGRAM = fileURLToPath(new URL("../examples/words/words.js", import.meta.url));

/** The example as a process of its own; descriptor 3 of it is a pipe from here. */
function started(t: TestContext, settings: Record<string, string> = {}): ChildProcess {
  const child = spawn(process.execPath, [PROGRAM], {
    env: { PATH: process.env.PATH, ...settings },
    stdio: ["ignore", "inherit", "pipe", "pipe"],
  });
  t.after(() => child.kill("SIGKILL"));
  return child;
}

/** Until it has said a word on standard error. */
async function says(child: ChildProcess, word: string): Promise<string> {
  for await (const line of createInterface({ input: child.stderr as Readable })) {
    if (line.includes(word)) {
      return line;
    }
  }
  throw new Error(`it never said ${word}`);
}

test("a process that is told to end ends well", async (t) => {
  const child = started(t);
  await says(child, "serving");

  child.kill("SIGTERM");

  assert.deepEqual(await once(child, "exit"), [0, null]);
});

test("a process whose parent is gone ends", async (t) => {
  const child = started(t, { FORGEMESH_PARENT_FD: "3" });
  await says(child, "serving");

  (child.stdio[3] as Writable).destroy();

  assert.deepEqual(await once(child, "exit"), [0, null]);
});

test("what keeps a process from serving is one sentence and an exit code", async (t) => {
  const child = started(t, { FORGEMESH_HOST_LISTEN: "0.0.0.0:0" });
  const exit = once(child, "exit");

  const said = await says(child, "error: ");

  assert.match(said, /^error: listen = "0\.0\.0\.0:0" is reached from beyond this machine/);
  assert.deepEqual(await exit, [1, null]);
});
